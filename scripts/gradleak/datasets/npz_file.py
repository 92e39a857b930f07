"""Examples in an .npz file: x and y."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from gradleak.artifacts import numpy_files
from gradleak.artifacts.array_names import array_called
from gradleak.artifacts.tensors import BROKEN, reason
from gradleak.datasets import limits
from gradleak.datasets.class_labels import class_labels
from gradleak.datasets.description import Description, Loaded, described
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.datasets.options import Dataset

FORM = "x (N, H, W, C), (N, H, W) or (N, D), and y (N,) or (N, K)"
# Names of the arrays, in small letters without separators. The second ones are of Keras and of MedMNIST.
X, Y = ("x", "xtrain", "images", "trainimages"), ("y", "ytrain", "labels", "trainlabels")


def read_npz(path: Path, name: str, options: Dataset) -> Loaded:
    """The examples of an .npz. Nothing is unpickled, and no array is made before its size was checked.

    x: uint8, or numbers in [0, 1], or in ``options.range``. y: as of ``class_labels``. name: of the data set,
    for the messages. Raises DataError with the file, the key and the row.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                m.filename.removesuffix(".npy"): m for m in numpy_files.check_zip(archive, path, 1 << 62)
            }
            x_key, y_key = (array_called(members, names, path, FORM, DataError) for names in (X, Y))
            arrays = [_array(archive, members[key], f"{path}: {key}") for key in (x_key, y_key)]
    except BROKEN as error:
        raise DataError(f"{path}: damaged or cut off ({reason(error)}); copy it again") from None
    x, low, high = _scaled(_shaped(arrays[0], f"{path}: {x_key}"), options, f"{path}: {x_key}", name)
    y, classes = class_labels(arrays[1], f"{path}: {y_key}")
    if len(x) != len(y):
        raise DataError(f"{path}: {x_key} has {len(x)} examples and {y_key} {len(y)} labels")
    examples = Examples(x, y, classes)
    known = described(examples)
    return Loaded(examples, Description(known.kind, known.shape, known.class_names, low, high))


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str) -> np.ndarray:
    with archive.open(member) as stream:
        shape, _, dtype = numpy_files.read_header(stream, what)
    if dtype.kind not in "uifb" or dtype.subdtype or dtype.names:
        raise DataError(f"{what}: has dtype {str(dtype)[:60]}, not plain numbers; nothing is unpickled")
    numbers, wide = math.prod(shape), max(dtype.itemsize, 1)
    if numbers * wide > limits.MAX_BYTES or member.file_size > limits.MAX_BYTES + 4096:
        raise DataError(
            f"{what}: {numbers * wide} bytes are more than the limit of {limits.MAX_BYTES}; save fewer "
            "examples, or images as uint8"
        )
    with archive.open(member) as stream:
        return numpy_files.read_array(stream, member.file_size, what)


def _shaped(x: np.ndarray, what: str) -> np.ndarray:
    """(n, H, W, C)."""
    if x.ndim not in (2, 3, 4) or not x.size:
        raise DataError(f"{what}: has shape {x.shape}; give (N, H, W, C), (N, H, W) or vectors (N, D)")
    if math.prod(x.shape[1:]) > limits.MAX_EXAMPLE:
        raise DataError(
            f"{what}: {math.prod(x.shape[1:])} numbers an example are more than the limit of "
            f"{limits.MAX_EXAMPLE}; scale the images down"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[3] > 4:
        raise DataError(
            f"{what}: has shape {x.shape}, with the channels before height and width; give "
            "numpy.transpose(x, (0, 2, 3, 1))"
        )
    return x[:, None, :, None] if x.ndim == 2 else x[..., None] if x.ndim == 3 else x


def _scaled(x: np.ndarray, options: Dataset, what: str, name: str) -> tuple[np.ndarray, float, float]:
    """(uint8, or float32 in [0, 1]; the values of the file that are 0 and 1)."""
    if x.dtype == np.uint8 and options.range is None:
        return x, 0.0, 255.0
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{what}: row {finite.argmin()} holds NaN or Inf")
    low, high = options.range or (0.0, 1.0)
    inside = ((x >= low) & (x <= high)).reshape(len(x), -1).all(axis=1)
    if not inside.all():
        row = int(inside.argmin())
        stated = (
            f"`datasets.{name}.range` is [{low:g}, {high:g}]"
            if options.range
            else ("which range they lie in is not known")
        )
        raise DataError(
            f"{what}: row {row} has values from {x[row].min():g} to {x[row].max():g}, and {stated}; "
            f"scale them to [0, 1], or set `datasets.{name}.range: [lo, hi]` to the numbers that mean 0 and 1"
        )
    if options.range is None:
        return x.astype(np.float32), 0.0, 1.0
    return ((x.astype(np.float64) - low) / (high - low)).astype(np.float32), low, high
