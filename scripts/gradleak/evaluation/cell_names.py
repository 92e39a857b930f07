"""In which settings cells differ, and how a cell is named: one answer for tables, figures, report, trackers.

A cell is a mapping from the columns of cells.csv to values, or from the parameters of the plan to values. A
value that is None, NaN or empty is not set. No pandas here: the workflow names cells while it is parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

SETTINGS = ("target", "batch_size", "weighting", "labels", "control", "method")  # columns of their own
PARAMETER = "param."  # begins the column of any other setting
SAME = ("param.target.batch_size", "param.target.samples")  # the column batch_size holds both
NEUTRAL = {"weighting": "uniform", "param.init": "uniform"}  # values that a name leaves out
WORDS = (
    ("method", "{}"),
    ("batch_size", "N={:.0f}"),
    ("weighting", "{}"),
    ("labels", "{} labels"),
    ("control", "{}"),
    *((f"param.{name}", None) for name in ("init", "prior", "target.pretrain_epochs", "target.local_epochs")),
)

FIRST = tuple(column for column, _ in WORDS)  # the settings that come first in a short name
ALWAYS = ("method", "batch_size")  # those that are in it even if they are the usual ones


def settings(columns: Iterable[str]) -> list[str]:
    """Those of ``columns`` that hold a setting of the cell, in a fixed order."""
    present = list(columns)
    own = [name for name in SETTINGS if name in present]
    return own + [name for name in present if name.startswith(PARAMETER) and name not in SAME]


def varying(cells: Sequence[Mapping[str, Any]], names: Iterable[str] | None = None) -> list[str]:
    """Those of ``names`` in which ``cells`` differ.

    By default ``names`` are all names of the cells, in the order of appearance. A cell that lacks a name has
    no say in it. A value that is not set counts as a value.
    """
    asked = dict.fromkeys(name for cell in cells for name in cell) if names is None else names
    return [name for name in asked if len({_key(cell[name]) for cell in cells if name in cell}) > 1]


def is_set(value: Any) -> bool:
    """Whether a setting has a value: not None, not NaN, not the empty string."""
    return value is not None and value == value and value != ""


def setting_name(column: str) -> str:
    """The column of a setting, for people."""
    return column.removeprefix(PARAMETER).removeprefix("target.").replace("_", " ")


def value_name(value: Any) -> str:
    """The value of a setting, for people."""
    if not is_set(value):
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ").removesuffix(".0")


def words(cell: Mapping[str, Any], skip: Iterable[str] = ()) -> str:
    """A cell in a few words: attack and the settings WORDS; not neutral values and the columns ``skip``."""
    parts = [] if "attack" in skip else [cell["attack"]]
    for column, text in WORDS:
        value = cell.get(column)
        if column in skip or not is_set(value) or value in ("none", NEUTRAL.get(column)):
            continue
        if text:
            parts.append(text.format(value).replace("_", " "))
        elif isinstance(value, float):
            parts.append(f"{setting_name(column)} {value_name(value)}")
        else:
            parts.append(f"{value} {setting_name(column)}")
    return ", ".join(parts)


def names(cells: Sequence[Mapping[str, Any]], skip: Iterable[str] = ()) -> list[str]:
    """``words`` of every cell, and what sets those apart that share their words.

    Added are the settings in which a cell differs from most of the cells with the same words.
    A setting that some of the cells leave unset is named wherever it is set.
    """
    found = [words(cell, skip) for cell in cells]
    for shared in dict.fromkeys(found):
        same = [index for index, name in enumerate(found) if name == shared]
        own = [cells[index] for index in same]
        for column in varying(own, [name for name in settings(own[0]) if name not in skip]):
            usual = _usual([_key(cell[column]) for cell in own])
            for index in same:
                value = cells[index][column]
                if is_set(value) and _key(value) != usual:
                    found[index] += f", {setting_name(column)} {value_name(value)}"
    return found


def short_names(cells: Sequence[Mapping[str, Any]], limit: int) -> list[str]:
    """A name of at most ``limit`` characters for every cell of a study; no two are the same.

    It has the attack and the settings WORDS that are not the usual ones of this attack's cells: neutral, or
    the most frequent. Other settings are in it where two cells would have the same name. Names that are too
    long have the first words of settings, then their initials, and are cut at last.
    """
    attacks = dict.fromkeys(cell["attack"] for cell in cells)
    usual = {name: _usual_values([cell for cell in cells if cell["attack"] == name]) for name in attacks}
    parts = [_unusual(cell, usual[cell["attack"]], FIRST) for cell in cells]
    counts = Counter(cell["attack"] + repr(own) for cell, own in zip(cells, parts, strict=True))
    found: list[str] = []
    taken: set[str] = set()
    for cell, own in zip(cells, parts, strict=True):
        if counts[cell["attack"] + repr(own)] > 1:
            others = [name for name in settings(cell) if name not in FIRST]
            own = own + _unusual(cell, usual[cell["attack"]], others)
        for style in range(3):
            name = ", ".join([cell["attack"], *(part[style] for part in own)])
            if len(name) <= limit:
                break
        if len(name) > limit or name in taken:
            place = f" ({len(found) + 1})"
            name = name[: limit - len(place)].rstrip(" ,") + place
        found.append(name)
        taken.add(name)
    return found


def _usual_values(cells: Sequence[Mapping[str, Any]]) -> dict[str, float | str | None]:
    """Setting in which ``cells`` differ → the key of its usual value: neutral, or the most frequent."""
    neutral = {**NEUTRAL, "labels": "recovered", "control": "none"}
    found = {}
    for column in varying(
        cells, dict.fromkeys([*FIRST, *(name for cell in cells for name in settings(cell))])
    ):
        keys = [_key(cell[column]) for cell in cells if column in cell]
        expected = _key(neutral.get(column))
        found[column] = expected if expected in keys else _usual(keys)
    return found


def _unusual(
    cell: Mapping[str, Any], usual: Mapping[str, float | str | None], columns: Iterable[str]
) -> list[tuple[str, str, str]]:
    """The settings ``columns`` in which a cell has not the ``usual`` value, each in three lengths."""
    parts = []
    for column in columns:
        if column not in usual or column not in cell:
            continue
        value = cell[column]
        words, label = value_name(value), setting_name(column).split()
        if column in ALWAYS and is_set(value):
            parts.append((words if column == "method" else f"N={words}",) * 3)
        elif not is_set(value) or _key(value) == usual[column]:
            continue
        elif column in ("weighting", "control", "target"):
            parts.append((words,) * 3)
        elif column == "labels":
            parts.append((f"{words} labels", words, words))
        else:
            initials = "".join(word[0] for word in label)
            parts.append((f"{' '.join(label)} {words}", f"{label[0]} {words}", f"{initials} {words}"))
    return parts


def _key(value: Any) -> float | str | None:
    """Equal for equal values: 1 and 1.0 are equal, lists can be compared, None is what is not set."""
    if not is_set(value):
        return None
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else repr(value)


def _usual(keys: Sequence[float | str | None]) -> float | str | None:
    """The most frequent of ``keys``, of equally frequent ones the least; None where one is None."""
    counts = Counter(key for key in keys if key is not None)
    if counts.total() < len(keys):
        return None
    most = max(counts.values())
    return min((isinstance(key, str), key) for key, count in counts.items() if count == most)[1]
