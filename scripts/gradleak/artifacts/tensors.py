"""Tensors of untrusted files: which are weights, that they are plain numbers, the order of their names."""

from __future__ import annotations

import re
import zipfile
import zlib
from typing import Any

import numpy as np

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError

COUNTER = "num_batches_tracked"  # of PyTorch's BatchNorm

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
    """float32, finite, native byte order. Whole numbers are refused unless all are zero."""
    if isinstance(array, np.ndarray) and array.dtype.name == "bfloat16":
        array = from_bfloat16(array.view(np.uint16))
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else f"the type {type(array).__name__}"
        raise ArtifactError(f"{what} has {kind}, not numbers; save it as float32")
    if array.ndim > limits.MAX_RANK:
        raise ArtifactError(f"{what} has {array.ndim} axes")
    if array.dtype.kind != "f" and array.any():
        raise ArtifactError(
            f"{what} has dtype {array.dtype}: it is quantised, or no weights; "
            "save (numbers − zero point) × scale as float32"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.array(array, np.float32, order="C")
    if not np.isfinite(single).all():
        raise ArtifactError(f"{what} holds NaN or Inf, or values too large for float32")
    return single


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 of bfloat16's 16 bits, given as uint16: they are the upper half of float32's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def plain_weights(tensors: dict[str, Any], path: Any) -> dict[str, np.ndarray]:
    """The tensors as ``plain_numbers``, without counters (see ``is_counter``)."""
    arrays = {
        key: np.asarray(value) if isinstance(value, int | float | np.generic) else value
        for key, value in tensors.items()
    }
    return {
        key: plain_numbers(value, f"{path}: {key}")
        for key, value in arrays.items()
        if not (isinstance(value, np.ndarray) and is_counter(key, value))
    }


def is_counter(key: str, array: np.ndarray) -> bool:
    """Whether a tensor counts something: PyTorch's batches, or a single whole number of any name.

    So do the states of random numbers that Keras's ``model.variables`` has of Dropout, two integers of 32 or
    64 bits each.
    """
    if key.removesuffix(":0").endswith(COUNTER):
        return True
    if array.dtype.kind not in "iub":
        return False
    return array.size == 1 or (array.shape == (2,) and array.dtype.itemsize >= 4)


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
