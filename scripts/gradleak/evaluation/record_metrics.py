"""Metrics of recovered records: which fields of a table are right.

Vectors are (n, D) or (n, 1, D, 1), in the encoding of ``gradleak.datasets.table``: estimates, whose numbers
are clipped to [0, 1], or exact ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradleak.datasets.table import CATEGORY, INTEGER, Field, decode
from gradleak.images import to_float

TOLERANCE = 0.01  # of the field's range, within which a number is right
KEPT = 8  # records of a trial that are written out


def width(fields: Sequence[Field]) -> int:
    """D, the numbers in a record's vector; 0 without fields."""
    return fields[-1].columns[1] if fields else 0


def right_fields(found: np.ndarray, truth: np.ndarray, fields: Sequence[Field]) -> np.ndarray:
    """bool (n, F): which fields of n estimates are right.

    A category is right if the largest of its numbers is the true one, an integer if it rounds to the true
    value, a number if it is within TOLERANCE of the range of its column. A field of one value is always
    right.
    """
    found, truth = (_vectors(x, fields) for x in (found, truth))
    return np.stack([_is_right(field, found, truth) for field in fields], axis=1)


def _is_right(field: Field, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """bool (n,). found, truth: float64 (n, D)."""
    one, other = (x[:, slice(*field.columns)] for x in (found, truth))
    if field.kind == CATEGORY:
        return one.argmax(axis=1) == other.argmax(axis=1)
    if field.high == field.low:
        return np.ones(len(found), bool)
    one, other = (np.clip(x[:, 0], 0, 1) for x in (one, other))
    if field.kind == INTEGER:
        one, other = (np.rint(field.low + x * (field.high - field.low)) for x in (one, other))
        return one == other
    return np.abs(one - other) <= TOLERANCE


def field_accuracy(right: np.ndarray, fields: Sequence[Field], records: int) -> dict[str, float]:
    """Shares of fields that are right, over all true records: one without an estimate counts 0.

    right: bool (n, F) of ``right_fields``, of the n ≤ ``records`` matched records. field_accuracy: of all
    fields; category_accuracy: of the categories, where there are any.
    """
    is_category = np.array([field.kind == CATEGORY for field in fields])
    shares = {"field_accuracy": float(right.sum() / (records * len(fields)))}
    if is_category.any():
        shares["category_accuracy"] = float(right[:, is_category].sum() / (records * is_category.sum()))
    return shares


def typical_record(public: np.ndarray, fields: Sequence[Field]) -> np.ndarray:
    """float64 (1, D): the most frequent category of each field, or the median. public: at least one record.

    Of categories that are equally frequent the first is taken.
    """
    vectors = _vectors(public, fields)
    typical = np.median(vectors, axis=0)
    for field in fields:
        if field.kind == CATEGORY:
            part = slice(*field.columns)
            typical[part] = np.eye(len(field.categories))[vectors[:, part].sum(axis=0).argmax()]
    return typical[None]


def chance(typical: np.ndarray, truth: np.ndarray, fields: Sequence[Field]) -> float:
    """The field accuracy of ``typical_record`` as the guess for each true record (n, …)."""
    guess = np.repeat(typical, len(truth), axis=0)
    return field_accuracy(right_fields(guess, truth, fields), fields, len(truth))["field_accuracy"]


def written_out(found: np.ndarray, truth: np.ndarray, fields: Sequence[Field]) -> dict[str, list]:
    """The first KEPT records in the columns' units: names of the fields, and for each record a list each of
    the found and the true values, and of whether they are right.

    truth: as many true records, or none, where the truth is not known; ``true`` and ``right`` are then empty.
    """
    found, truth = found[:KEPT], truth[:KEPT]
    return {
        "fields": [field.name for field in fields],
        "found": _values(found, fields),
        "true": _values(truth, fields),
        "right": right_fields(found, truth, fields).tolist() if len(truth) else [],
    }


def _values(x: np.ndarray, fields: Sequence[Field]) -> list[list[Any]]:
    return [list(record.values()) for record in decode(x, fields)]


def _vectors(x: np.ndarray, fields: Sequence[Field]) -> np.ndarray:
    """float64 (n, D)."""
    return to_float(x).astype(np.float64).reshape(len(x), width(fields))
