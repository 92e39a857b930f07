"""Recovered records of tables in the report: the found fields beside the true ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gradleak.evaluation.markup import (
    escape,
    number_cell,
    number_heads,
    row,
    small,
    table,
    text_cell,
    text_heads,
)
from gradleak.evaluation.tables import names, shown_order

SHOWN_CELLS = 8
SHOWN_FIELDS = 60
CAPTION = (
    "The fields of a record: found, and true beside it. Shown is each cell's trial with the most right "
    "fields, its best-matched records first. A cross marks wrong fields. A category is right if it is the "
    "true one, an integer if it is equal, a number if it is within 1 % of the range of its column. Records "
    "are matched one to one after the attack has ended."
)


def section(cells: pd.DataFrame, recovered: dict[str, list[dict[str, Any]]]) -> str:
    """HTML: a table for each of at most SHOWN_CELLS cells; empty without any.

    recovered: cell → rows of results/scores/{cell}/{block}.json, whose ``records`` are those of
    ``record_metrics.written_out``.
    """
    own = cells.drop_duplicates("cell").set_index("cell")
    own = own.loc[[cell for cell in own.index if cell in recovered]]
    if not len(own):
        return ""
    titles, order = names(own), shown_order(own)
    parts = [small(CAPTION)]
    parts += [_cell(str(titles[cell]), recovered[cell]) for cell in order[:SHOWN_CELLS]]
    if len(order) > SHOWN_CELLS:
        parts.append(small(f"{len(order) - SHOWN_CELLS} further cells: <code>results/scores/</code>."))
    return "".join(parts)


def _cell(title: str, rows: list[dict[str, Any]]) -> str:
    head = f"<h4>{escape(title)}</h4>"
    trials = [one for one in rows if "records" in one]
    if not trials:
        return head + small("No trial is ok.")
    best = max(trials, key=lambda one: one.get("field_accuracy", 0.0))
    said = f"Seed {best['seed']}."
    if "field_accuracy" in best:
        said += (
            f" Right: {100 * best['field_accuracy']:.0f} % of all fields of all {sum(best['true_counts'])} "
            f"records; by guessing the most frequent category and the median, "
            f"{100 * best['field_accuracy_chance']:.0f} %."
        )
    return head + small(said) + _table(best["records"])


def _table(records: dict[str, list]) -> str:
    """A row for each field, and a column for each record."""
    count = len(records["found"])
    if not count:
        return small("No record was certified.")
    has_truth = bool(records["true"])
    parts = ("found", "true") if has_truth else ("found",)
    numbers = [f" {index + 1}" for index in range(count)] if count > 1 else [""]
    head = text_heads("field") + number_heads(*(part + number for number in numbers for part in parts))
    rows = []
    for place, name in enumerate(records["fields"][:SHOWN_FIELDS]):
        line = [text_cell(escape(name))]
        for index in range(count):
            is_right = not has_truth or records["right"][index][place]
            line.append(_value(records["found"][index][place], is_right))
            if has_truth:
                line.append(number_cell(_text(records["true"][index][place])))
        rows.append(row(line))
    more = len(records["fields"]) - SHOWN_FIELDS
    return table(head, rows) + (small(f"{more} further fields are not shown.") if more > 0 else "")


def _value(value: Any, is_right: bool) -> str:
    """A found value. What is wrong is marked by a colour and a cross, since colours alone do not print."""
    return number_cell(_text(value)) if is_right else f"<td class='bad'>{_text(value)} ✗</td>"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(value)
