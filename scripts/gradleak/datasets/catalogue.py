"""A data set by its name: built in, or the user's own."""

from __future__ import annotations

from gradleak.datasets import builtin, own
from gradleak.datasets.description import Loaded
from gradleak.datasets.options import Dataset


def load(name: str, options: Dataset) -> Loaded:
    """The whole data set ``name`` and what is known about it. Raises DataError."""
    if name not in builtin.BUILTIN:
        return own.load(name, options)
    return builtin.BUILTIN[name].load(options.path)


def is_table(name: str, options: Dataset) -> bool:
    """Whether the data set's examples are records of a table, found without reading all of it."""
    if name not in builtin.BUILTIN:
        return own.is_table(options)
    return builtin.BUILTIN[name].is_table
