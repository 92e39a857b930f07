"""Tensors of untrusted files: the check that they are plain numbers, and the natural order of their names."""

from __future__ import annotations

import re
import zipfile
import zlib
from typing import Any

import numpy as np

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError

# All that the libraries raise on a damaged archive.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    MemoryError,
)


def plain_numbers(array: Any, what: str) -> np.ndarray:
    """float32, finite, native byte order."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else f"the type {type(array).__name__}"
        raise ArtifactError(f"{what} has {kind}, not numbers")
    if array.ndim > limits.MAX_RANK:
        raise ArtifactError(f"{what} has {array.ndim} axes")
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.array(array, np.float32, order="C")
    if not np.isfinite(single).all():
        raise ArtifactError(f"{what} holds NaN or Inf, or values too large for float32")
    return single


COUNTERS = ("num_batches_tracked",)


def is_counter(key: str, array: np.ndarray) -> bool:
    """Whether a tensor is no weight: PyTorch's count of batches, any scalar, or a state of random numbers.

    No variable of a layer is a scalar. Keras's ``model.variables`` has the states of Dropout's random
    numbers, two integers each.
    """
    if key.removesuffix(":0").endswith(COUNTERS) or array.ndim == 0:
        return True
    kind, size = array.dtype.kind, array.dtype.itemsize
    return kind in "iu" and (
        array.size == 1 or (array.shape == (2,) and (kind == "u" or size == 8) and size > 2)
    )


def natural_order(key: str) -> list:
    """Sort key under which arr_2 comes before arr_10."""
    return [
        (1, int(part), "") if part.isdecimal() and len(part) < 19 else (0, 0, part)
        for part in re.split(r"(\d+)", key)
    ]


def reason(error: BaseException) -> str:
    """The first line of the error's message, or its class."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def damaged(path: Any, error: BaseException) -> ArtifactError:
    """The error for an archive that cannot be read to its end."""
    return ArtifactError(f"{path}: damaged or cut off ({reason(error)}); fetch or copy it again")
