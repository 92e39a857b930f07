"""Records as vectors, and vectors as records again.

A number is scaled to [0, 1] by the least and the greatest value of its column. A category becomes as many
numbers as the column has different values, one of them 1 and the others 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradleak.datasets import limits
from gradleak.datasets.errors import DataError
from gradleak.images import to_float

NUMBER, INTEGER, CATEGORY = "number", "integer", "category"


class Field(NamedTuple):
    """One column of a table, and the numbers of a vector that stand for it.

    kind: number, integer or category. low, high: of a number, the values that become 0 and 1, in its own
    units. categories: of a category, its values in the order of the vector's numbers. columns: [first, last)
    of the vector.
    """

    name: str
    kind: str
    low: float
    high: float
    categories: tuple[str, ...]
    columns: tuple[int, int]


def fit(frame: Mapping[str, np.ndarray], what: str) -> tuple[Field, ...]:
    """The fields of a table, in the order of its columns.

    frame: name → (n,) numbers, text or booleans; the last two are categories. what: the file, for the
    messages. Raises DataError with the column.
    """
    fields: list[Field] = []
    first = 0
    for name, values in frame.items():
        field = _fitted(name, np.asarray(values), first, f"{what}: column {name!r}")
        fields.append(field)
        first = field.columns[1]
    if not fields:
        raise DataError(f"{what}: has no column beside the label")
    if first > limits.MAX_COLUMNS:
        raise DataError(
            f"{what}: a record becomes {first} numbers, more than the limit of {limits.MAX_COLUMNS}; leave "
            "out columns with many categories"
        )
    return tuple(fields)


def _fitted(name: str, values: np.ndarray, first: int, what: str) -> Field:
    if values.dtype.kind not in "iuf":
        categories = sorted({str(value) for value in values})
        if len(categories) > limits.MAX_CATEGORIES:
            raise DataError(
                f"{what} has {len(categories)} different values, more than the limit of "
                f"{limits.MAX_CATEGORIES} for a category; leave it out, or give it as numbers"
            )
        return Field(name, CATEGORY, 0.0, 1.0, tuple(categories), (first, first + len(categories)))
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        raise DataError(f"{what} reaches from {low:g} to {high:g}; its numbers must be finite")
    kind = NUMBER if values.dtype.kind == "f" else INTEGER
    return Field(name, kind, low, high, (), (first, first + 1))


def encode(frame: Mapping[str, np.ndarray], fields: Sequence[Field]) -> np.ndarray:
    """float32 (n, D) in [0, 1], the vectors of a table's records. frame: as of ``fit``, of values within the
    fields' ranges and categories. Raises KeyError for a category that the field has not.
    """
    parts = []
    for field in fields:
        values = np.asarray(frame[field.name])
        if field.kind == CATEGORY:
            place = {category: index for index, category in enumerate(field.categories)}
            chosen = np.array([place[str(value)] for value in values], int)
            parts.append(np.eye(len(place), dtype=np.float32)[chosen])
        else:
            width = (field.high - field.low) or 1.0  # a column of one value is 0
            parts.append(((values.astype(np.float64) - field.low) / width).astype(np.float32)[:, None])
    return np.concatenate(parts, axis=1)


def decode(x: np.ndarray, fields: Sequence[Field]) -> list[dict[str, Any]]:
    """The records of vectors, by name of the column.

    x: (n, D) or (n, 1, D, 1), as ``to_float`` takes it; exact vectors or estimates of them. A number is
    clipped to the range of its column and is given in the column's units, to about seven digits of that
    range; a whole one is rounded. Of a category the value with the greatest number is given.
    """
    vectors = to_float(np.asarray(x)).reshape(len(x), fields[-1].columns[1])
    return [{field.name: _decoded(row[slice(*field.columns)], field) for field in fields} for row in vectors]


def _decoded(part: np.ndarray, field: Field) -> Any:
    if field.kind == CATEGORY:
        return field.categories[int(part.argmax())]
    value = field.low + float(np.clip(part[0], 0, 1)) * (field.high - field.low)
    return round(value) if field.kind == INTEGER else value
