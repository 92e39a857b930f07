"""The user's truth for an update from outside: private images and labels, checked against the mapped update.

Scores of a wrong truth are wrong without a sign of it. So what can be read in one way only is converted, and
everything else is refused with the key, the reason and what to do.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from gradleak.artifacts.array_names import array_called
from gradleak.errors import UserError
from gradleak.losses import BINARY
from gradleak.mapping.files import MappedBlock

IMAGES = ("x", "images", "image", "xtrue", "inputs")
LABELS = ("y", "labels", "label", "ytrue", "targets")
FORM = "an .npz with x (N, H, W, C), uint8 or float in [0, 1], and y (N,), the classes as integers"
# Largest pixel, as a share of the full range, below which the range itself is in doubt: 16 of 255 is white in
# images of 17 grey levels.
LEAST_PEAK = 0.2


class TruthError(UserError):
    """Why a file of private images cannot be the truth of an update, and what to do."""


def read_truth(path: str | Path, block: MappedBlock) -> tuple[np.ndarray, np.ndarray]:
    """(x uint8 [N, H, W, C], y int64 [N]) of a user's file. block: the mapped update. With one sigmoid a
    class y is multi-hot uint8 [N, C].

    Raises TruthError with the file, the key and the reason.
    """
    arrays = _arrays(path)
    x_key, y_key = (array_called(arrays, names, path, FORM, TruthError) for names in (IMAGES, LABELS))
    try:
        classes = len(block.public_softmax)
        y = (_multi_hot if block.loss == BINARY else _labels)(arrays[y_key], classes)
    except TruthError as error:
        raise TruthError(f"{path}: {y_key} {error}") from None
    try:
        x = _images(arrays[x_key], block.image_shape, len(y))
    except TruthError as error:
        raise TruthError(f"{path}: {x_key} {error}") from None
    if len(x) != len(y):
        raise TruthError(
            f"{path}: {x_key} has {len(x)} images and {y_key} {len(y)} labels; give one label an image"
        )
    if len(x) != block.samples:
        raise TruthError(
            f"{path}: {x_key} has {len(x)} images, and the update is of {block.samples}; give all of its "
            "images and no others, or correct `samples` of the target"
        )
    return x, y


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (AttributeError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = "it is one plain array" if isinstance(error, AttributeError | TypeError) else error
        raise TruthError(f"{path}: needs {FORM}; it cannot be read as such ({reason})") from None


def _images(x: np.ndarray, shape: tuple[int, ...], labels: int) -> np.ndarray:
    """uint8 [N, H, W, C]. shape: (H, W, C) of the model. labels: number of labels, for one image alone."""
    return _shaped(_pixels(x), shape, labels)


def _pixels(x: np.ndarray) -> np.ndarray:
    """Values as uint8, from integers of 0 to 255 or floats in [0, 1]."""
    if x.dtype.kind not in "uif" or not x.size or not np.isfinite(x).all():
        raise TruthError(f"must be finite numbers, not {x.dtype} of shape {x.shape}; give uint8 of 0 to 255")
    low, high = float(x.min()), float(x.max())
    full = 1.0 if x.dtype.kind == "f" and high <= 1 else 255.0
    whole = full == 1 or bool(np.all(x == np.round(x)))
    if low < 0 or high > 255 or not whole or 0 < high < LEAST_PEAK * full:
        raise TruthError(
            f"has values from {low:.4g} to {high:.4g}, whose range is not known; give uint8 of 0 to 255, or "
            "floats in [0, 1], as before any standardisation"
        )
    return np.round(x * (255 / full)).astype(np.uint8)


def _shaped(x: np.ndarray, shape: tuple[int, ...], labels: int) -> np.ndarray:
    height, width, channels = shape
    if x.shape == shape and labels == 1:
        return x[None]
    if x.ndim == 4 and x.shape[1:] == shape:
        return x
    if x.ndim == 4 and x.shape[1:] == (channels, height, width):
        return x.transpose(0, 2, 3, 1)
    if channels == 1 and x.shape[1:] in ((height, width), (height * width,)):
        return x.reshape(len(x), *shape)
    if channels == 1 and x.shape == (height, width) and labels == 1:
        return x.reshape(1, *shape)
    if channels == 1 and x.ndim == 4 and x.shape[1:3] == (height, width) and (x == x[..., :1]).all():
        return x[..., :1]
    vectors = x.ndim == 2 and x.shape[1] == height * width * channels
    wanted = ", ".join(map(str, shape))
    order = ", in which channels can come first or last" if vectors else ""
    raise TruthError(f"has shape {x.shape}{order}; the model takes images {shape}, so give (N, {wanted})")


def _multi_hot(y: np.ndarray, classes: int) -> np.ndarray:
    """uint8 [N, C], from rows of zeros and ones, or from the one label of each image."""
    if y.ndim == 2 and y.shape[1] == classes and np.isin(y, (0, 1)).all():
        return y.astype(np.uint8)
    if y.ndim == 2 and y.shape[1] == classes:
        raise TruthError("has other values than 0 and 1; give one column a label")
    return np.eye(classes, dtype=np.uint8)[_labels(y, classes)]


def _labels(y: np.ndarray, classes: int) -> np.ndarray:
    """int64 [N], from integers, whole floats, one column, or one-hot rows."""
    if y.dtype.kind not in "uifb" or not y.size or not np.isfinite(y).all():
        raise TruthError(f"must be numbers, not {y.dtype} of shape {y.shape}; give the class of each image")
    if y.ndim == 2 and y.shape[1] == classes and classes > 1:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise TruthError(
                f"has shape {y.shape}, but its rows are not one-hot; give the class of each image as an "
                "integer"
            )
        return y.argmax(axis=1).astype(np.int64)
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1) or y.dtype.kind == "b":
        raise TruthError(
            f"is {y.dtype} of shape {y.shape}; give (N,) integers, or one-hot rows (N, {classes}) of the "
            f"{classes} classes"
        )
    flat = y.reshape(-1)
    if not np.all(flat == np.round(flat)):
        raise TruthError("has labels that are not whole; give the class of each image as an integer")
    wrong = np.unique(flat[(flat < 0) | (flat >= classes)])
    if len(wrong):
        raise TruthError(
            f"has the labels {', '.join(f'{one:g}' for one in wrong[:5])}, but the model's classes are 0 to "
            f"{classes - 1}; number them as the model does"
        )
    return flat.astype(np.int64)
