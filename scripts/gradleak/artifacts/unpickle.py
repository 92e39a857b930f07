"""The restricted unpickler. Use it in the confined child process alone, which bounds memory and time."""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

import numpy as np

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError

# All that a damaged or hostile pickle of allowed names can raise.
FAILURES = (
    pickle.UnpicklingError,
    ValueError,
    LookupError,
    EOFError,
    AttributeError,
    TypeError,
    ImportError,
    MemoryError,
    OverflowError,
    RecursionError,
    UnicodeError,
    AssertionError,
    NotImplementedError,
)


class PlainUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and scalars and plain containers, and nothing else.

    The allow-list names functions and classes, never whole modules: modules such as NumPy's have functions
    that run text.
    """

    ALLOWED = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ) | {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "complex"),
        ("builtins", "slice"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"refuses {module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, _: Any) -> Any:
        raise pickle.UnpicklingError("refuses a reference to something outside of the file")


def load(stream: BinaryIO, what: str) -> Any:
    """The object in ``stream``; an ArtifactError that names ``what`` and the reason."""
    try:
        return PlainUnpickler(stream, encoding="latin1").load()
    except FAILURES as error:
        first = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise ArtifactError(
            f"{what}: its pickled content cannot be read safely ({first}); save plain arrays with "
            "numpy.savez, and metadata as JSON"
        ) from None


def plain(value: Any, what: str) -> Any:
    """A copy of ``value`` in JSON types. Size and depth are bounded: a pickle can nest a list into itself."""
    left = [limits.MAX_META]

    def copy(one: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > limits.MAX_DEPTH:
            raise ArtifactError(
                f"{what}: the metadata hold more than {limits.MAX_META} values or are nested deeper than "
                f"{limits.MAX_DEPTH}; they are optional: move the file away"
            )
        if isinstance(one, np.ndarray):
            return copy(one.tolist(), depth) if one.size < left[0] else f"(array of shape {list(one.shape)})"
        if isinstance(one, np.generic):
            one = one.item()
        if isinstance(one, dict):
            return {
                str(copy(key, depth + 1))[: limits.MAX_NAME]: copy(v, depth + 1) for key, v in one.items()
            }
        if isinstance(one, list | tuple | set | frozenset):
            return [copy(v, depth + 1) for v in one]
        if one is None or isinstance(one, bool | str):
            return one if not isinstance(one, str) else one[:10_000]
        if isinstance(one, int):
            return one if abs(one) < 1 << 63 else None
        if isinstance(one, float):
            return one if abs(one) < float("inf") else None
        return f"({type(one).__name__})"

    return copy(value, 0)
