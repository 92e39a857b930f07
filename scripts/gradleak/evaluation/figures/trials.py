"""Single trials: their PSNR, and the course of their objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradleak.evaluation.figures.style import COLOURS, message
from gradleak.evaluation.tables import names

SHOWN_CURVES = 12
SHOWN_SPREADS = 30


def seeds(trials: pd.DataFrame) -> Figure:
    """PSNR in dB of every trial of every cell: how much the draw of the clients and the seed matter."""
    trials = trials.query("attack != 'labels'").dropna(subset=["psnr", "batch_size"])
    if not len(trials):
        return message("no trial was scored against truth")
    trials = trials.drop_duplicates(["cell", "seed"])
    cells = trials.drop_duplicates("cell").sort_values(["batch_size", "attack"], kind="stable")
    ticks = names(cells)
    cells = cells[:SHOWN_SPREADS]
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.24 * len(cells)))
    sizes = sorted(cells["batch_size"].unique())
    for y, (_, cell) in enumerate(cells.iterrows()):
        values = trials.loc[trials["cell"] == cell["cell"], "psnr"].to_numpy()
        colour = COLOURS[sizes.index(cell["batch_size"]) % len(COLOURS)]
        axis.plot(values, y + np.linspace(-0.22, 0.22, len(values)), "o", ms=3, alpha=0.7, color=colour, lw=0)
        axis.plot([np.median(values)] * 2, [y - 0.34, y + 0.34], color=colour, lw=2)
    axis.axvline(20, color="#999999", lw=0.8, ls=":")
    axis.set_yticks(range(len(cells)), ticks[cells.index], fontsize=6.5)
    axis.set(xlabel="PSNR (dB) of each trial; bar: median", ylim=(len(cells) - 0.5, -0.5))
    return figure


def loss_curves(cells: pd.DataFrame, records: dict[str, Callable]) -> Figure:
    """The attack's own objective against its steps, a panel a cell.

    records: cell → a function that reads its record.
    """
    cells = cells.drop_duplicates("cell").set_index("cell")
    titles = names(cells)
    chosen = [c for c in cells.index if c in records][:SHOWN_CURVES]
    if not chosen:
        return message("no loss curves to show")
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.9 * columns, 2.1 * rows), squeeze=False)
    for axis in axes.ravel()[len(chosen) :]:
        axis.axis("off")
    for index, (axis, cell) in enumerate(zip(axes.ravel(), chosen, strict=False)):
        _draw_curves(axis, [t["history"] for t in records[cell]()["trials"] if t["history"].get("step")])
        axis.set_title(titles[cell], fontsize=7)
        axis.tick_params(which="both", labelsize=6)
        if index >= len(chosen) - columns:
            axis.set_xlabel("step", fontsize=7)
        if index % columns == 0:
            axis.set_ylabel("objective", fontsize=7)
    figure.tight_layout()
    return figure


def _draw_curves(axis: Any, curves: list[dict]) -> None:
    """One thin line a trial; bold, their median."""
    for curve in curves:
        axis.plot(curve["step"], curve["objective"], color=COLOURS[0], lw=0.5, alpha=0.5)
    if curves:
        steps = curves[0]["step"]
        median = np.median([np.interp(steps, c["step"], c["objective"]) for c in curves], axis=0)
        axis.plot(steps, median, color=COLOURS[1], lw=1.6)
        if min(min(c["objective"]) for c in curves) > 0:
            axis.set_yscale("log")
