"""The labels of a file → integers, or one mark for each label that an example has."""

from __future__ import annotations

import numpy as np

from gradleak.datasets import limits
from gradleak.datasets.errors import DataError


def class_labels(y: np.ndarray, what: str) -> tuple[np.ndarray, int]:
    """(labels, number of classes) as ``Examples`` has them.

    y: whole numbers or booleans (n,) or (n, 1), or rows (n, K) of 0 and 1. Rows that all have a single 1 are
    classes; otherwise they are several labels an example. what: file and key, for the messages. Raises
    DataError.
    """
    if y.dtype.kind not in "uifb" or not y.size:
        raise DataError(
            f"{what}: must be numbers, not {y.dtype} of shape {y.shape}; number the classes from 0"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        return _rows(y, what)
    if y.ndim != 1:
        raise DataError(
            f"{what}: has shape {y.shape}; give (N,) whole numbers, or (N, K) rows of 0 and 1 for examples "
            "with several labels"
        )
    y = y.astype(np.int64) if y.dtype.kind == "b" else y
    wrong = np.flatnonzero(~((y >= 0) & (y < limits.MAX_CLASSES) & (y == np.round(y))))
    if len(wrong):
        raise DataError(
            f"{what}: row {wrong[0]} is {y[wrong[0]]}; classes are whole numbers from 0 to "
            f"{limits.MAX_CLASSES - 1}"
        )
    return y.astype(np.int64), int(y.max()) + 1


def _rows(y: np.ndarray, what: str) -> tuple[np.ndarray, int]:
    """Of rows (n, K): one label each, or several."""
    if y.shape[1] > limits.MAX_CLASSES:
        raise DataError(f"{what}: {y.shape[1]} labels are more than the limit of {limits.MAX_CLASSES}")
    wrong = np.flatnonzero(~np.isin(y, (0, 1)).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{what}: row {wrong[0]} has numbers other than 0 and 1, which mark the labels of an example; "
            "for one class an example give whole numbers (N,)"
        )
    if (y.sum(axis=1) == 1).all():
        return y.argmax(axis=1).astype(np.int64), y.shape[1]
    return y.astype(np.uint8), y.shape[1]
