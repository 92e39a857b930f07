"""How many images are recovered and how well, against the settings of the update."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from gradleak.evaluation.cell_names import setting_name, value_name, words
from gradleak.evaluation.figures.style import COLOURS, error_line, message, spread
from gradleak.evaluation.tables import names, varying


def psnr_by_batch_size(cells: pd.DataFrame) -> Figure:
    """PSNR against the number of images in the update, with 95 % intervals over draws.

    Variants, cells of the same words, are drawn if they cover several sizes; all of them, if none does.
    """
    cells = cells.query("attack != 'labels'").dropna(subset=["psnr", "batch_size"])
    if not len(cells):
        return message("no trial was scored against truth")
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    lines = names(cells, skip=("batch_size",))
    kinds = cells.apply(lambda cell: words(cell, skip=("batch_size",)), axis=1)
    several = cells.groupby(lines)["batch_size"].transform("nunique") > 1
    shown = several | ~several.groupby(kinds).transform("any")
    cells, lines = cells[shown], lines[shown]
    sizes = sorted(cells["batch_size"].unique())
    for index, name in enumerate(dict.fromkeys(lines)):
        own = cells[lines == name].sort_values("batch_size")
        x = [sizes.index(b) + (index - len(set(lines)) / 2) * 0.04 for b in own["batch_size"]]
        error_line(axis, (index, name), x, own, "psnr")
    base = cells.dropna(subset=["nearest_public_psnr"]).groupby("batch_size")["nearest_public_psnr"].mean()
    if len(base):
        axis.plot(
            [sizes.index(b) for b in base.index],
            base,
            ls="--",
            color="#777777",
            marker="_",
            label="nearest public image (uses the truth)",
        )
    axis.axhline(20, color="#bbbbbb", lw=0.8, ls=":")
    axis.set(
        xticks=range(len(sizes)),
        xticklabels=[f"{s:g}" for s in sizes],
        xlabel="images in the update, N",
        ylabel="PSNR (dB), mean over images",
    )
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def recovery(cells: pd.DataFrame) -> Figure:
    """Share of true images at 20 dB or better against each setting of the update, all else equal.

    One panel a setting, with 95 % intervals over draws.
    """
    cells = cells.query("attack != 'labels' and control == 'none'").dropna(subset=["share_20db"])
    settings = [name for name in varying(cells) if name == "batch_size" or name.startswith("param.target.")]
    panels = {name: lines for name in settings if (lines := along(cells.drop_duplicates("cell"), name))}
    if not panels:
        return message("no two cells differ in one setting of the update alone")
    attacks = names(
        cells.drop(columns=["target", *cells.columns[cells.columns.str.startswith("param.target.")]]),
        skip=("batch_size",),
    )
    order = list(dict.fromkeys(attacks[own.index[0]] for lines in panels.values() for own in lines))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 0.6, 2.2 * rows), squeeze=False, sharey=True
    )
    for axis in grid.flat[len(panels) :]:
        axis.axis("off")
    drawn: dict[str, ErrorbarContainer] = {}
    for axis, (name, lines) in zip(grid.flat, panels.items(), strict=False):
        labelled = [(attacks[own.index[0]], own) for own in lines]
        drawn = _draw_panel(axis, name, labelled, order) | drawn
    drawn = {label: drawn[label] for label in order}
    for axis in grid[:, 0]:
        axis.set_ylabel("share of images ≥ 20 dB", fontsize=8)
    figure.tight_layout()
    figure.legend(drawn.values(), drawn, fontsize=7, loc="upper left", bbox_to_anchor=(0.02, 0))
    return figure


def _draw_panel(
    axis: Any, name: str, lines: list[tuple[str, pd.DataFrame]], order: list[str]
) -> dict[str, ErrorbarContainer]:
    """One panel of ``recovery``: lines (label, cells) against the setting ``name``. Returns a line a label.

    order: all labels of the figure. A label's place in it gives the colour, the marker and a small shift.
    """
    drawn: dict[str, ErrorbarContainer] = {}
    values = pd.concat([own for _, own in lines])[name].drop_duplicates().sort_values(na_position="first")
    places = {value_name(value): place for place, value in enumerate(values.tolist())}
    for label, own in lines:
        index = order.index(label)
        x = [places[value_name(value)] + (index - len(order) / 2) * 0.04 for value in own[name]]
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "ls": "-" if pd.api.types.is_numeric_dtype(own[name]) else "none",
        }
        drawn.setdefault(label, error_line(axis, (index, label), x, own, "share_20db", **style))
    axis.set(xticks=range(len(values)), xticklabels=list(places), ylim=(-0.03, 1.04))
    axis.set_xlabel("images in the update, N" if name == "batch_size" else setting_name(name), fontsize=8)
    axis.tick_params(labelsize=7)
    return drawn


def along(cells: pd.DataFrame, axis: str) -> list[pd.DataFrame]:
    """Groups of two or more cells of one attack that differ in ``axis`` alone, in its order; NaN first."""
    rest = ["attack", *(name for name in varying(cells) if name != axis)]
    groups = [own.drop_duplicates(axis) for _, own in cells.groupby(rest, dropna=False, sort=False)]
    return [own.sort_values(axis, na_position="first", kind="stable") for own in groups if len(own) > 1]


def weighting(cells: pd.DataFrame) -> Figure:
    """PSNR of each layer weighting at each batch size, with 95 % intervals over draws."""
    cells = cells.query("attack == 'dlg' and control == 'none'")
    cells = cells.dropna(subset=["psnr", "batch_size"])
    if not len(cells):
        return message("no trial was scored against truth")
    cells = _comparable(cells, "weighting")
    sizes = sorted(cells["batch_size"].unique())
    kinds = list(dict.fromkeys(cells["weighting"]))
    figure, axis = plt.subplots(figsize=(1.6 + 1.1 * max(2, len(sizes)), 3.2))
    width = 0.8 / len(kinds)
    for index, kind in enumerate(kinds):
        own = (
            cells[cells["weighting"] == kind].groupby("batch_size")[["psnr", "psnr_low", "psnr_high"]].mean()
        )
        x = np.array([sizes.index(b) for b in own.index]) + (index - (len(kinds) - 1) / 2) * width
        axis.bar(
            x,
            own["psnr"],
            width * 0.92,
            yerr=spread(own, "psnr"),
            capsize=2,
            label=kind.replace("_", " "),
            error_kw={"lw": 0.8},
        )
    axis.set(xticks=range(len(sizes)), xticklabels=[f"N={s:g}" for s in sizes], ylabel="PSNR (dB)")
    axis.legend(title="weighting", fontsize=7)
    return figure


def _comparable(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The cells that differ from others in ``axis`` alone: all its values are under the same conditions."""
    same = [c for c in cells.columns if c in ("target", "batch_size", "labels") or c.startswith("param.")]
    kinds = cells.groupby(same, dropna=False)[axis].transform("nunique")
    return cells[kinds == kinds.max()]
