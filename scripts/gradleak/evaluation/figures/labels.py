"""Label recovery: counts, shares, skill and intervals of all label methods."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradleak.evaluation.cell_names import setting_name, value_name
from gradleak.evaluation.figures.style import COLOURS, MARKERS, error_line, message
from gradleak.evaluation.tables import varying


def _places(cells: pd.DataFrame) -> dict[str, int]:
    """Label method → its place, uniform guessing last. The place gives a method its colour in all figures."""
    methods = set(cells.loc[cells["attack"] == "labels", "method"].dropna())
    ordered = sorted(methods, key=lambda name: (name == "uniform", name))
    return {name: place for place, name in enumerate(ordered)}


def counts(cells: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """True against recovered images per class, a panel for each method and batch size."""
    rows = labels.dropna(subset=["true"])
    rows = rows[rows["attack"] == "labels"].dropna(subset=["batch_size"])
    if not len(rows):
        return message("no label estimate was scored against truth")
    places = _places(cells)
    methods, sizes = sorted(set(rows["method"]), key=places.get), sorted(rows["batch_size"].unique())
    figure, axes = plt.subplots(
        len(sizes), len(methods), figsize=(1.9 * len(methods) + 0.4, 1.9 * len(sizes) + 0.3), squeeze=False
    )
    for i, size in enumerate(sizes):
        for j, method in enumerate(methods):
            axis, own = axes[i, j], rows[(rows["batch_size"] == size) & (rows["method"] == method)]
            times = own.groupby(["true", "recovered"]).size().reset_index(name="n")
            axis.plot([0, size], [0, size], color="#bbbbbb", lw=0.8)
            axis.scatter(
                times["true"],
                times["recovered"],
                s=8 + 120 * times["n"] / max(times["n"].max(), 1),
                alpha=0.6,
                color=COLOURS[places[method] % len(COLOURS)],
                lw=0,
            )
            axis.tick_params(which="both", labelsize=6)
            if i == 0:
                axis.set_title(method.replace("_", " "), fontsize=8)
            if j == 0:
                axis.set_ylabel(f"N={size:g}\nrecovered", fontsize=7)
            if i == len(sizes) - 1:
                axis.set_xlabel("true images of a class", fontsize=7)
    figure.tight_layout()
    return figure


def recovery(cells: pd.DataFrame) -> Figure:
    """Share of labels recovered (IRec) per method and batch size, with 95 % intervals over draws."""
    places = _places(cells)
    cells = cells.query("attack == 'labels'").dropna(subset=["irec", "batch_size"])
    if not len(cells):
        return message("no label estimate was scored against truth")
    sizes = sorted(cells["batch_size"].unique())
    figure, axis = plt.subplots(figsize=(6, 3.2))
    for method, index in places.items():
        own = cells[cells["method"] == method].groupby("batch_size")[["irec", "irec_low", "irec_high"]].mean()
        if not len(own):
            continue
        x = [sizes.index(b) + 0.04 * index for b in own.index]
        style = (
            {"color": "#777777", "ls": "--"}
            if method == "uniform"
            else {"color": COLOURS[index % len(COLOURS)]}
        )
        error_line(axis, (index, method.replace("_", " ")), x, own, "irec", **style)
    axis.set(
        xticks=range(len(sizes)),
        xticklabels=[f"{s:g}" for s in sizes],
        xlabel="images in the update, N",
        ylabel="labels recovered (IRec)",
        ylim=(0, 1.04),
    )
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def skill(cells: pd.DataFrame) -> Figure:
    """Skill, see ``metrics.label_metrics``, against batch size; a panel for each setting of the update."""
    places = _places(cells)
    cells = cells.query("attack == 'labels' and method != 'uniform'").dropna(subset=["skill", "batch_size"])
    if not len(cells):
        return message("no label estimate was scored against truth")
    panels = {name: own for name, own in cells.groupby(_settings(cells), sort=False)}
    present = set(cells["method"])
    columns = min(3, len(panels))
    figure, axes = plt.subplots(
        -(-len(panels) // columns),
        columns,
        figsize=(3 * columns + 1, 2.6 * -(-len(panels) // columns)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for axis, (name, own) in zip(axes.flat, panels.items(), strict=False):
        for method, index in places.items():
            if method not in present:
                continue
            line = own[own["method"] == method].groupby("batch_size")["skill"].mean()
            axis.plot(
                line.index,
                line,
                marker=MARKERS[index // len(COLOURS) % len(MARKERS)],
                ms=4,
                lw=1.2,
                color=COLOURS[index % len(COLOURS)],
                label=method.replace("_", " "),
            )
        axis.axhline(0, color="#777777", ls="--", lw=1)
        axis.set_title(name, fontsize=8)
        sizes = sorted(cells["batch_size"].unique())
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.set_ylim(-1.05, 1.05)
    for axis in axes[-1]:
        axis.set_xlabel("images in the update, N")
    for axis in axes[:, 0]:
        axis.set_ylabel("skill")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def _settings(cells: pd.DataFrame) -> pd.Series:
    """The settings of the update in which label cells differ, in words; without batch size and model seed."""
    columns = [c for c in varying(cells) if c.startswith("param.target.") and c != "param.target.model_seed"]
    texts = [
        ", ".join(f"{setting_name(c)} {value_name(value)}" for c, value in zip(columns, row, strict=True))
        for row in cells[columns].itertuples(index=False, name=None)
    ]
    return pd.Series(texts, index=cells.index, dtype=object)


def coverage(cells: pd.DataFrame) -> Figure:
    """Share of class counts that the intervals cover, against their nominal coverage; and their width."""
    places = _places(cells)
    cells = cells.query("attack == 'labels'").dropna(subset=["coverage_90"])
    if not len(cells):
        return message("no method with intervals was scored against truth")
    levels = [50, 90, 95]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    left.plot([40, 100], [40, 100], color="#777777", ls="--", lw=1)
    for method, own in cells.groupby("method", sort=False):
        colour, marker = COLOURS[places[method] % len(COLOURS)], MARKERS[places[method] % len(MARKERS)]
        values = 100 * own[[f"coverage_{level}" for level in levels]].to_numpy()
        shift = np.linspace(-1.2, 1.2, len(values))[:, None] if len(values) > 1 else 0
        left.scatter(np.array(levels) + shift + 0 * values, values, s=10, alpha=0.6, color=colour, lw=0)
        left.plot(levels, values.mean(axis=0), marker=marker, color=colour, label=method)
        right.scatter(own["batch_size"], own["width_90"], s=14, alpha=0.7, color=colour, lw=0, label=method)
    left.set(xlabel="nominal coverage, %", ylabel="classes covered, %", xticks=levels)
    right.set(xlabel="images in the update, N", ylabel="mean width at 90 %, images")
    left.legend(fontsize=7)
    figure.tight_layout()
    return figure


def intervals(labels: pd.DataFrame) -> Figure:
    """True counts against recovered ones with their 90 % intervals, a panel for each batch size.

    Of the first method with intervals; at most 300 classes a panel.
    """
    rows = labels.dropna(subset=["true", "low", "batch_size"])
    if not len(rows):
        return message("no method with intervals was scored against truth")
    rows = rows[rows["method"] == rows["method"].iloc[0]]
    sizes = sorted(rows["batch_size"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(2.7 * len(sizes) + 0.4, 2.8), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        own = rows[rows["batch_size"] == size]
        own = own.sample(min(300, len(own)), random_state=0)
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(own))
        outside = ((own["true"] < own["low"]) | (own["true"] > own["high"])).to_numpy()
        axis.plot([0, own["true"].max()], [0, own["true"].max()], color="#777777", ls="--", lw=1)
        for chosen, colour in ((~outside, COLOURS[0]), (outside, COLOURS[1])):
            part = own[chosen]
            bars = [part["recovered"] - part["low"], part["high"] - part["recovered"]]
            axis.errorbar(
                part["true"] + jitter[chosen],
                part["recovered"],
                yerr=np.maximum(bars, 0),
                fmt="o",
                ms=2.5,
                lw=0.6,
                alpha=0.6,
                color=colour,
            )
        axis.set(xlabel="true images of a class", title=f"N={size:g}")
    axes[0, 0].set_ylabel(f"recovered by {rows['method'].iloc[0]}")
    figure.tight_layout()
    return figure


def table(cells: pd.DataFrame) -> Figure:
    """Mean IRec of all methods (rows) in all settings (columns).

    Bold: the best of a setting. Below the line: uniform guessing. Grey: worse than it.
    """
    cells = cells.query("attack == 'labels'").dropna(subset=["batch_size"])
    cells = cells.sort_values("batch_size", kind="stable")
    if not cells["irec"].notna().any():
        return message("no label estimate was scored against truth")
    settings = "N=" + cells["batch_size"].map("{:g}".format) + " " + _settings(cells)
    means = (
        cells[["method", "irec"]]
        .assign(setting=settings.str.strip())
        .pivot_table(
            values="irec", index="method", columns="setting", aggfunc="mean", sort=False, dropna=False
        )
    )
    last = [m for m in ("uniform",) if m in means.index]
    means = means.loc[[*means.drop(index=last).mean(axis=1).sort_values(ascending=False).index, *last]]
    rows, columns = means.shape
    figure, axis = plt.subplots(figsize=(1.6 + 0.62 * columns, 1.2 + 0.24 * rows))
    best, floor = means.max(), means.loc["uniform"] if last else means.min() - 1
    for i, (method, row) in enumerate(means.iterrows()):
        axis.text(-0.6, i, method.replace("_", " "), ha="right", va="center", fontsize=7)
        for j, (setting, value) in enumerate(row.items()):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            bold = "bold" if value >= best[setting] - 5e-4 else "normal"
            grey = "#999999" if value < floor[setting] else "black"
            axis.text(j, i, text, ha="center", va="center", fontsize=7, weight=bold, color=grey)
    if last:
        axis.axhline(rows - 1.5, color="black", lw=1)
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), yticks=[], xticks=range(columns))
    axis.set_xticklabels(means.columns, rotation=60, ha="left", fontsize=6)
    axis.xaxis.tick_top()
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure
