"""The tables of the report: headline, cells, effects, settings, provenance. All return HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gradleak.evaluation import cell_names
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
from gradleak.evaluation.provenance import Provenance
from gradleak.evaluation.tables import varying

COLUMNS = {  # heading, digits
    "share_20db": ("share ≥ 20 dB", 2),
    "psnr": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "share_30db": ("share ≥ 30 dB", 2),
    "reference_accuracy": ("reference accuracy", 2),
    "relative_error": ("relative error", 2),
    "perceptual_distance": ("perceptual distance", 2),
    "field_accuracy": ("fields right", 2),
    "field_accuracy_chance": ("by guessing", 2),
    "category_accuracy": ("categories right", 2),
    "irec": ("labels IRec", 2),
    "skill": ("label skill", 2),
    "certified": ("certified images", 1),
    "false_positives": ("false positives", 1),
    "expected_psnr": ("expected PSNR (dB)", 1),
    "samples_estimated": ("estimated N", 1),
    "samples_exact": ("N right", 2),
    "nearest_public_psnr": ("nearest public (dB)", 1),
    "prior_ceiling_psnr": ("prior's ceiling (dB)", 1),
}
OF_LABELS = ["irec", "skill"]
OF_HEADLINE = ["share_20db", "psnr", "ssim", "field_accuracy", "irec"]
OF_TABLES = ("field_accuracy",)  # columns of the headline that only data sets of records have
VERDICTS = {
    "above": "above it",
    "below": "below it",
    "not told apart": "not distinguishable",
    "no control": "",
}
CLASSES = {"above": "above", "below": "below"}  # of CSS, by verdict


def headline_table(headline: pd.DataFrame) -> str:
    """headline.csv: label methods last. Certified images and fields only where an attack has them."""
    certifies = bool(headline["certified"].notna().any())
    metrics = [name for name in OF_HEADLINE if name not in OF_TABLES or headline[name].notna().any()]
    ordered = headline.assign(last=headline["attack"] == "labels")
    ordered = ordered.sort_values(["last", "batch_size", "attack"], kind="stable")
    head = (
        text_heads("attack")
        + number_heads("N")
        + text_heads("setting")
        + number_heads(*(COLUMNS[name][0] for name in metrics))
        + (number_heads("certified (false positives)") if certifies else "")
        + text_heads("best control", "the attack is")
    )
    rows = [_headline_row(one, metrics, certifies) for _, one in ordered.iterrows()]
    return table(head, rows, "headline")


def _headline_row(one: pd.Series, metrics: list[str], certifies: bool) -> str:
    counted, control = "–", "–"
    if not pd.isna(one["certified"]):
        counted = f"{one['certified']:.1f} ({one['false_positives']:.1f})"
    if not pd.isna(one["control_value"]):
        digits = 2 if one["attack"] == "labels" else 1
        control = f"{one['control_value']:.{digits}f} <span class='ci'>{escape(one['control'])}</span>"
    return row(
        [
            text_cell(f"<b>{escape(one['attack'])}</b>"),
            number_cell(f"{one['batch_size']:g}"),
            text_cell(escape(one["setting"] or "–")),
            *(number_cell(_value(one, name)) for name in metrics),
            *([number_cell(counted)] if certifies else []),
            text_cell(control),
            text_cell(VERDICTS[one["verdict"]], CLASSES.get(one["verdict"], "")),
        ]
    )


def cell_tables(own: pd.DataFrame) -> str:
    """The cells of one study: one table of image attacks, one of label methods."""
    images, labels = own[own["attack"] != "labels"], own[own["attack"] == "labels"]
    parts = []
    if len(images):
        shown = [name for name in COLUMNS if images[name].notna().any()]
        parts.append("<h4>Images</h4>" + _table_of(images, shown))
    if len(labels):
        parts.append("<h4>Labels</h4>" + _table_of(labels, OF_LABELS))
    return "".join(parts)


def _table_of(own: pd.DataFrame, columns: list[str]) -> str:
    """A row a cell: the settings in which the cells differ, then the metrics ``columns``."""
    settings = varying(own)
    head = (
        text_heads("attack", *(escape(name.removeprefix(cell_names.PARAMETER)) for name in settings))
        + number_heads(*(COLUMNS[name][0] for name in columns))
        + number_heads("draws", "s/trial", "CPU h", "cell")
    )
    order = ["attack", "batch_size", *(name for name in settings if name != "batch_size")]
    rows = [_cell_row(cell, settings, columns) for _, cell in own.sort_values(order).iterrows()]
    return table(head, rows)


def _cell_row(cell: pd.Series, settings: list[str], columns: list[str]) -> str:
    oracle = " <span class=oracle>oracle</span>" if cell["oracle"] else ""
    bad = " class='bad'" if cell["ok"] < cell["trials"] else ""
    return row(
        [
            text_cell(escape(cell["attack"]) + oracle),
            *(text_cell(_setting(cell[name])) for name in settings),
            *(number_cell(_value(cell, name)) for name in columns),
            number_cell(str(cell["draws"])),
            number_cell(f"{cell['seconds_per_trial']:.1f}"),
            number_cell(f"{cell['cpu_hours']:.3f}"),
            number_cell(f"<code>{cell['cell']}</code>"),
        ],
        f"{bad} id='cell-{cell['cell']}'",
    )


def effect_table(effects: pd.DataFrame) -> str:
    """effects.csv: PSNR of image attacks, IRec of label methods."""
    is_label = effects["attack"] == "labels"
    shown = effects[(effects["metric"] == "psnr") & ~is_label | (effects["metric"] == "irec") & is_label]
    if not len(shown):
        return "<p>No two cells differ in one setting alone.</p>"
    head = text_heads("setting", "from → to", "of", "metric")
    head += number_heads("base", "with", "difference", "draws")
    return small(
        "Every cell is compared with the cell that has the base value and agrees in all else. Draws are "
        "paired where both attacked the same updates. Bold: the interval excludes 0. All metrics: "
        "<code>results/tables/effects.csv</code>."
    ) + table(head, [_effect_row(one) for _, one in shown.iterrows()], "effect-table")


def _effect_row(one: pd.Series) -> str:
    low, high = one["difference_low"], one["difference_high"]
    name, digits = COLUMNS[one["metric"]]
    interval, kind = "", ""
    if not pd.isna(low):
        interval = f" <span class='ci'>{low:+.{digits}f} to {high:+.{digits}f}</span>"
        kind = " class='above'" if low > 0 or high < 0 else ""
    base, value = (escape(cell_names.value_name(one[end])) for end in ("base", "value"))
    return row(
        [
            text_cell(escape(cell_names.setting_name(one["axis"]))),
            text_cell(f"{base} → {value}"),
            text_cell(escape(one["of"])),
            text_cell(name),
            number_cell(f"{one['base_mean']:.{digits}f}"),
            number_cell(f"{one['mean']:.{digits}f}"),
            f"<td{kind}>{one['difference']:+.{digits}f}{interval}</td>",
            number_cell(f"{'paired' if one['paired'] else 'unpaired'}, {one['draws']}"),
        ]
    )


def settings_text(cells: dict[str, dict]) -> str:
    """The settings that all cells of an attack share. cells: id → {attack, target, parameters}."""
    parts = []
    for attack in dict.fromkeys(cell["attack"] for cell in cells.values()):
        own = [cell["parameters"] for cell in cells.values() if cell["attack"] == attack]
        varied = sorted(cell_names.varying(own))
        shared = {name: value for name, value in own[0].items() if name not in varied and value is not None}
        listed = ", ".join(f"{escape(name)} = <b>{escape(value)}</b>" for name, value in shared.items())
        parts.append(
            small(
                f"<b>{escape(attack)}</b>, {len(own)} cells. The same in all: {listed}. "
                f"Varied: {escape(', '.join(varied)) or 'nothing'}."
            )
        )
    return "".join(parts)


def provenance_tables(provenance: Provenance) -> str:
    facts = [
        row([text_cell(escape(name)), text_cell(f"<code>{escape(value)}</code>")])
        for name, value in provenance.facts.items()
    ]
    files = [
        row([text_cell(f"<code>{escape(path)}</code>"), text_cell(f"<code>{escape(digest)}</code>")])
        for path, digest in provenance.files.items()
    ]
    return (
        table("", facts)
        + small("Commands that make it again, from the same revision of the code:")
        + f"<pre>{escape(provenance.commands)}</pre>"
        + small("SHA-256 of the tables and of what the attacks read:")
        + table("", files)
    )


def _value(one: pd.Series, column: str) -> str:
    """A metric with its interval in small print."""
    mean, digits = one[column], COLUMNS[column][1]
    if pd.isna(mean):
        return "–"
    low, high = one[f"{column}_low"], one[f"{column}_high"]
    interval = "" if pd.isna(low) else f" <span class='ci'>{low:.{digits}f}–{high:.{digits}f}</span>"
    return f"{mean:.{digits}f}{interval}"


def _setting(value: Any) -> str:
    """A setting of a cell; empty where the cell has none, since cells of several attacks share a table."""
    return escape(cell_names.value_name(value)) if cell_names.is_set(value) else ""
