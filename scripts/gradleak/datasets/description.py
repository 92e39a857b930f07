"""What is known about the examples of a data set: results/data/{dataset}/dataset.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from gradleak.datasets.examples import Examples
from gradleak.datasets.table import Field
from gradleak.files import read_json, write_json

IMAGE, VECTOR, TABLE = "image", "vector", "table"


@dataclass(frozen=True)
class Description:
    """kind: image, vector or table. shape: (H, W, C) of an example; (1, D, 1) of a vector or a record.
    class_names: in the order of the classes. low, high: the source's values of 0 and 1 in an example; of a
    table its fields have them. fields: of a table, in the order of the vector.
    """

    kind: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0
    fields: tuple[Field, ...] = ()


class Loaded(NamedTuple):
    """A whole data set."""

    examples: Examples
    description: Description


def described(
    examples: Examples, class_names: tuple[str, ...] = (), fields: tuple[Field, ...] = ()
) -> Description:
    """The description of examples as they are. Classes without names are called by their numbers."""
    height, width, channels = examples.x.shape[1:]
    kind = TABLE if fields else VECTOR if (height, channels) == (1, 1) else IMAGE
    high = 255.0 if examples.x.dtype.kind == "u" else 1.0
    names = class_names or tuple(map(str, range(examples.classes)))
    return Description(kind, (height, width, channels), names, 0.0, high, fields)


def write_description(path: str | Path, description: Description) -> None:
    fields = [field._asdict() for field in description.fields]
    write_json(path, {**asdict(description), "fields": fields})


def read_description(path: str | Path) -> Description:
    found = read_json(path)
    fields = tuple(
        Field(**{**one, "categories": tuple(one["categories"]), "columns": tuple(one["columns"])})
        for one in found["fields"]
    )
    lists = {key: tuple(found[key]) for key in ("shape", "class_names")}
    return Description(**{**found, **lists, "fields": fields})
