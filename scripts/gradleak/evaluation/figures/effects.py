"""What one setting changes."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from gradleak.evaluation.cell_names import setting_name, value_name
from gradleak.evaluation.figures.style import COLOURS, MARKERS, message

SHOWN_EFFECTS = 40


def differences(effects: pd.DataFrame) -> Figure:
    """The difference that one setting makes from the base cell, in dB or in IRec, with 95 % intervals."""
    table = effects.dropna(subset=["difference"])
    is_label, metric = table["attack"] == "labels", table["metric"]
    panels = [
        (own, name)
        for own, name in (
            (table[~is_label & (metric == "psnr")], "PSNR, difference (dB)"),
            (table[is_label & (metric == "irec")], "labels recovered, difference (IRec)"),
        )
        if len(own)
    ]
    if not panels:
        return message("no two cells differ in one setting alone")
    shown = [
        own.reindex(own["difference"].abs().sort_values(ascending=False).index)[:SHOWN_EFFECTS]
        for own, _ in panels
    ]
    shown = [own.sort_values(["axis", "attack", "of", "value"], kind="stable") for own in shown]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(6.4, 0.6 * len(panels) + 0.21 * sum(map(len, shown))),
        squeeze=False,
        height_ratios=[len(own) + 2 for own in shown],
    )
    for axis, own, (_, name) in zip(axes[:, 0], shown, panels, strict=True):
        _draw_differences(axis, own)
        axis.set(xlabel=name, ylim=(len(own) - 0.5, -0.5))
    figure.tight_layout()
    return figure


def _draw_differences(axis: Any, own: pd.DataFrame) -> None:
    """A line a row: the difference and its interval; filled where it is paired by draw."""
    kinds = list(dict.fromkeys(own["axis"]))
    for y, (_, row) in enumerate(own.iterrows()):
        kind = kinds.index(row["axis"])
        colour, marker = COLOURS[kind % len(COLOURS)], MARKERS[kind % len(MARKERS)]
        low, high = (
            row["difference"] if pd.isna(row[f"difference_{end}"]) else row[f"difference_{end}"]
            for end in ("low", "high")
        )
        axis.plot([low, high], [y, y], color=colour, lw=1.4)
        axis.plot(
            row["difference"], y, marker, color=colour, ms=4.5, mfc=colour if row["paired"] else "white"
        )
    axis.axvline(0, color="#777777", lw=1)
    ticks = [
        f"{setting_name(row.axis)}: {value_name(row.base)} → {value_name(row.value)}  ({row.of})"
        for row in own.itertuples()
    ]
    axis.set_yticks(range(len(own)), ticks, fontsize=6.5)
