"""Tables → figures. Every plot function returns a Figure; ``save`` writes it. Okabe–Ito colours, readable in print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gradleak.evaluation.cell_names import setting_name, words
from gradleak.evaluation.cell_names import value_name as short
from gradleak.evaluation.tables import names as named
from gradleak.evaluation.tables import varying
from gradleak.files import replacing

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
MARKERS = "osD^vPX*"
plt.rcParams.update(
    {
        "figure.dpi": 130,
        "savefig.bbox": "tight",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "axes.titlesize": 10,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
        "svg.hashsalt": "gradleak",
    }
)


UNDATED = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Producer": None, "Creator": None}}


def save(figure: Figure, *paths: str | Path) -> None:
    """Write ``figure`` to each path, in the format of its suffix; the same figure is the same bytes."""
    for path in map(Path, paths):
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata=UNDATED[path.suffix])
    plt.close(figure)


def _picture(axis: Any, image: np.ndarray) -> None:
    axis.imshow(
        image.squeeze(),
        cmap="gray",
        vmin=0,
        vmax=255 if image.dtype == np.uint8 else 1,
        interpolation="nearest",
    )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _spread(cells: pd.DataFrame, metric: str) -> np.ndarray:
    """[2, cells]: how far a metric's interval reaches below and above it, 0 where there is none."""
    bounds = cells[[f"{metric}_low", f"{metric}_high"]].to_numpy().T
    return np.nan_to_num(np.abs(bounds - cells[metric].to_numpy()))


def _line(
    axis: Any, index: int, x: list, cells: pd.DataFrame, metric: str, label: str, **style: Any
) -> ErrorbarContainer:
    """Line number ``index`` of a figure: a metric with its intervals, as a legend shows it. Where colours come round again, markers are other ones, and hollow."""
    again = index // len(COLOURS)
    return axis.errorbar(
        x,
        cells[metric],
        yerr=_spread(cells, metric),
        marker=MARKERS[(index + again) % len(MARKERS)],
        mfc="white" if again % 2 else None,
        ms=4,
        capsize=2,
        lw=1.2,
        label=label,
        **style,
    )


def _nothing(text: str) -> Figure:
    """A figure that says why it is empty: every trial may have failed."""
    figure, axis = plt.subplots(figsize=(4, 1))
    axis.axis("off")
    axis.text(0.5, 0.5, text, ha="center", va="center", color="#555555")
    return figure


SHOWN_PAIRS = 10
SHOWN_CELLS = 16


def reconstructions(frames: dict, pairs: dict[str, Callable], records: dict) -> Figure:
    """True images above what each attack made of them, best-matched pairs first.

    A batch fills its row from the first seed; where a batch has fewer images than the row, further seeds follow.
    """
    cells = frames["cells"].drop_duplicates("cell").set_index("cell")
    names = named(cells)
    chosen = [c for c in cells.index if c in pairs]
    order = sorted(
        chosen,
        key=lambda c: (
            cells.loc[c, "attack"] != "span",  # the one that certifies what it shows
            cells.loc[c, "batch_size"],
            cells.loc[c, "attack"],
            cells.loc[c, "control"] != "none",
            c,
        ),
    )[:SHOWN_CELLS]
    if not order:
        return _nothing("no reconstructions to show")
    height = 0.62
    figure = plt.figure(figsize=(SHOWN_PAIRS * height + 0.6, len(order) * (2 * height + 0.42)))
    outer = figure.add_gridspec(len(order), 1, hspace=0.42)
    for row, cell in enumerate(order):
        shown = _pairs_of(pairs[cell](), SHOWN_PAIRS)
        inner = outer[row].subgridspec(2, SHOWN_PAIRS, wspace=0.06, hspace=0.06)
        for column, (true, found, psnr) in enumerate(shown):
            above, below = (figure.add_subplot(inner[line, column]) for line in (0, 1))
            for axis, name, image in ((above, "true", true), (below, "found", found)):
                axis.axis("off") if image is None else _picture(axis, image)
                if column == 0 and found is not None:
                    _note(axis, -0.12, 0.5, name, ha="right", va="center", color="#555555")
            if column == 0:
                above.set_title(names[cell], fontsize=8, loc="left", pad=3)
            if psnr is not None:
                _note(below, 0.5, -0.05, f"{psnr:.0f} dB", ha="center", va="top")
            if column == 0 and found is None:
                _note(
                    above, 0, 0.3, "nothing: no image was accepted", ha="left", va="center", color="#555555"
                )
    return figure


def _note(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    """A few small words beside a picture, placed in shares of its size."""
    axis.text(x, y, text, transform=axis.transAxes, fontsize=6.5, **style)


def _pairs_of(data: dict[str, np.ndarray], size: int) -> list[tuple]:
    """``size`` times (true image, found image, PSNR), seed by seed; None for what is not known or not there."""
    known = data["psnr"].shape[1] > 0
    rows = []
    for trial, count in enumerate(data["pairs"]):
        for k in range(min(int(count), data["found"].shape[1])):
            true, psnr = (data["truth"][trial, k], data["psnr"][trial, k]) if known else (None, None)
            rows.append((true, data["found"][trial, k], psnr))
    return (rows + [(None, None, None)] * size)[:size]


def psnr_by_batch_size(frames: dict, pairs: dict, records: dict) -> Figure:
    """PSNR against the number of images in the update, 95 % intervals over draws.

    Of cells that differ in what ``words`` does not say those alone that go over several sizes, where there are such.
    """
    cells = frames["cells"].query("attack != 'labels'").dropna(subset=["psnr", "batch_size"])
    if not len(cells):
        return _nothing("no trial was scored against truth")
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    names = named(cells, skip=("batch_size",))
    kinds = cells.apply(lambda cell: words(cell, skip=("batch_size",)), axis=1)
    several = cells.groupby(names)["batch_size"].transform("nunique") > 1
    shown = several | ~several.groupby(kinds).transform("any")
    cells, names = cells[shown], names[shown]
    sizes = sorted(cells["batch_size"].unique())
    for index, name in enumerate(dict.fromkeys(names)):
        own = cells[names == name].sort_values("batch_size")
        x = [sizes.index(b) + (index - len(set(names)) / 2) * 0.04 for b in own["batch_size"]]
        _line(axis, index, x, own, "psnr", name)
    base = cells.dropna(subset=["nearest_public_psnr"]).groupby("batch_size")["nearest_public_psnr"].mean()
    if len(base):
        axis.plot(
            [sizes.index(b) for b in base.index],
            base,
            ls="--",
            color="#777777",
            marker="_",
            label="nearest public image (sees the truth)",
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


def along(cells: pd.DataFrame, axis: str) -> list[pd.DataFrame]:
    """Groups of cells of one attack that differ in ``axis`` alone, two or more each, in its order; what is not set comes first."""
    rest = ["attack", *(name for name in varying(cells) if name != axis)]
    groups = [own.drop_duplicates(axis) for _, own in cells.groupby(rest, dropna=False, sort=False)]
    return [own.sort_values(axis, na_position="first", kind="stable") for own in groups if len(own) > 1]


def recovery(frames: dict, pairs: dict, records: dict) -> Figure:
    """Share of true images at 20 dB or better against each setting of the update, all else equal, 95 % intervals over draws."""
    cells = frames["cells"].query("attack != 'labels' and control == 'none'").dropna(subset=["share_20db"])
    settings = [name for name in varying(cells) if name == "batch_size" or name.startswith("param.target.")]
    panels = {name: lines for name in settings if (lines := along(cells.drop_duplicates("cell"), name))}
    if not panels:
        return _nothing("no two cells differ in one setting of the update alone")
    attacks = named(
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
        values = pd.concat(lines)[name].drop_duplicates().sort_values(na_position="first").tolist()
        places = {short(value): place for place, value in enumerate(values)}
        for own in lines:
            label = attacks[own.index[0]]
            index = order.index(label)
            x = [places[short(value)] + (index - len(order) / 2) * 0.04 for value in own[name]]
            ordered = pd.api.types.is_numeric_dtype(own[name])
            line = _line(
                axis,
                index,
                x,
                own,
                "share_20db",
                label,
                color=COLOURS[index % len(COLOURS)],
                ls="-" if ordered else "none",
            )
            drawn.setdefault(label, line)
        axis.set(xticks=range(len(values)), xticklabels=list(places), ylim=(-0.03, 1.04))
        axis.set_xlabel("images in the update, N" if name == "batch_size" else setting_name(name), fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in grid[:, 0]:
        axis.set_ylabel("share of images ≥ 20 dB", fontsize=8)
    figure.tight_layout()
    figure.legend(drawn.values(), drawn, fontsize=7, loc="upper left", bbox_to_anchor=(0.02, 0))
    return figure


def weighting(frames: dict, pairs: dict, records: dict) -> Figure:
    """Layer weighting: PSNR per batch size, 95 % intervals over draws."""
    cells = frames["cells"].query("attack == 'dlg' and control == 'none'")
    cells = cells.dropna(subset=["psnr", "batch_size"])
    if not len(cells):
        return _nothing("no trial was scored against truth")
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
            yerr=_spread(own, "psnr"),
            capsize=2,
            label=kind.replace("_", " "),
            error_kw={"lw": 0.8},
        )
    axis.set(xticks=range(len(sizes)), xticklabels=[f"N={s:g}" for s in sizes], ylabel="PSNR (dB)")
    axis.legend(title="weighting", fontsize=7)
    return figure


def _comparable(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The cells that differ from others in ``axis`` alone: each value is then seen under the same conditions."""
    same = [c for c in cells.columns if c in ("target", "batch_size", "labels") or c.startswith("param.")]
    kinds = cells.groupby(same, dropna=False)[axis].transform("nunique")
    return cells[kinds == kinds.max()]


def loss_curves(frames: dict, pairs: dict, records: dict[str, Callable]) -> Figure:
    """The attack's own objective against its steps: thin, one line a seed; bold, their median."""
    cells = frames["cells"].drop_duplicates("cell").set_index("cell")
    names = named(cells)
    chosen = [c for c in cells.index if c in records][:12]
    if not chosen:
        return _nothing("no loss curves to show")
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.9 * columns, 2.1 * rows), squeeze=False)
    for axis in axes.ravel()[len(chosen) :]:
        axis.axis("off")
    for index, (axis, cell) in enumerate(zip(axes.ravel(), chosen, strict=False)):
        curves = [t["history"] for t in records[cell]()["trials"] if t["history"].get("step")]
        for curve in curves:
            axis.plot(curve["step"], curve["objective"], color=COLOURS[0], lw=0.5, alpha=0.5)
        if curves:
            steps = curves[0]["step"]
            axis.plot(
                steps,
                np.median([np.interp(steps, c["step"], c["objective"]) for c in curves], axis=0),
                color=COLOURS[1],
                lw=1.6,
            )
            if min(min(c["objective"]) for c in curves) > 0:
                axis.set_yscale("log")
        axis.set_title(names[cell], fontsize=7)
        axis.tick_params(which="both", labelsize=6)
        if index >= len(chosen) - columns:
            axis.set_xlabel("step", fontsize=7)
        if index % columns == 0:
            axis.set_ylabel("objective", fontsize=7)
    figure.tight_layout()
    return figure


def _label_places(frames: dict) -> dict[str, int]:
    """The study's label methods, uniform guessing last: a method's place gives it the same colour in all figures."""
    cells = frames["cells"]
    methods = set(cells.loc[cells["attack"] == "labels", "method"].dropna())
    return {
        name: place for place, name in enumerate(sorted(methods, key=lambda name: (name == "uniform", name)))
    }


def label_counts(frames: dict, pairs: dict, records: dict) -> Figure:
    """True against recovered images per class; on the diagonal is right. Area: how often."""
    table = frames["labels"].dropna(subset=["true"])
    table = table[table["attack"] == "labels"].dropna(subset=["batch_size"])
    if not len(table):
        return _nothing("no label estimate was scored against truth")
    places = _label_places(frames)
    methods, sizes = sorted(set(table["method"]), key=places.get), sorted(table["batch_size"].unique())
    figure, axes = plt.subplots(
        len(sizes), len(methods), figsize=(1.9 * len(methods) + 0.4, 1.9 * len(sizes) + 0.3), squeeze=False
    )
    for i, size in enumerate(sizes):
        for j, method in enumerate(methods):
            axis, own = axes[i, j], table[(table["batch_size"] == size) & (table["method"] == method)]
            counts = own.groupby(["true", "recovered"]).size().reset_index(name="n")
            axis.plot([0, size], [0, size], color="#bbbbbb", lw=0.8)
            axis.scatter(
                counts["true"],
                counts["recovered"],
                s=8 + 120 * counts["n"] / max(counts["n"].max(), 1),
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


def label_recovery(frames: dict, pairs: dict, records: dict) -> Figure:
    """Share of labels recovered (IRec) per method and batch size, 95 % intervals over draws."""
    cells = frames["cells"].query("attack == 'labels'").dropna(subset=["irec", "batch_size"])
    if not len(cells):
        return _nothing("no label estimate was scored against truth")
    sizes = sorted(cells["batch_size"].unique())
    figure, axis = plt.subplots(figsize=(6, 3.2))
    for method, index in _label_places(frames).items():
        own = cells[cells["method"] == method].groupby("batch_size")[["irec", "irec_low", "irec_high"]].mean()
        if not len(own):
            continue
        x = [sizes.index(b) + 0.04 * index for b in own.index]
        style = (
            {"color": "#777777", "ls": "--"}
            if method == "uniform"
            else {"color": COLOURS[index % len(COLOURS)]}
        )
        _line(axis, index, x, own, "irec", method.replace("_", " "), **style)
    axis.set(
        xticks=range(len(sizes)),
        xticklabels=[f"{s:g}" for s in sizes],
        xlabel="images in the update, N",
        ylabel="labels recovered (IRec)",
        ylim=(0, 1.04),
    )
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def label_skill(frames: dict, pairs: dict, records: dict) -> Figure:
    """IRec above uniform guessing, as a share of what is left above it, against batch size; a panel for each setting."""
    cells = (
        frames["cells"]
        .query("attack == 'labels' and method != 'uniform'")
        .dropna(subset=["skill", "batch_size"])
    )
    if not len(cells):
        return _nothing("no label estimate was scored against truth")
    panels = {name: own for name, own in cells.groupby(_label_settings(cells), sort=False)}
    present, places = set(cells["method"]), _label_places(frames)
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


def _label_settings(cells: pd.DataFrame) -> pd.Series:
    """What sets the targets of label cells apart, but for batch size and model seed, in a few words."""
    own = ("param.target.batch_size", "param.target.samples", "param.target.model_seed")
    names = [
        c
        for c in cells.columns
        if c.startswith("param.target.") and c not in own and cells[c].nunique(dropna=False) > 1
    ]
    words = [
        name.rsplit(".", 1)[-1].replace("_", " ")
        + " "
        + cells[name].map("{}".format, na_action="ignore").fillna("–")
        for name in names
    ]
    return words[0].str.cat(words[1:], sep=", ") if words else pd.Series("", index=cells.index)


def label_coverage(frames: dict, pairs: dict, records: dict) -> Figure:
    """How often the intervals of class counts hold the truth, against how often they should; one point a cell."""
    cells = frames["cells"].query("attack == 'labels'").dropna(subset=["coverage_90"])
    if not len(cells):
        return _nothing("no method with intervals was scored against truth")
    levels = [50, 90, 95]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    left.plot([40, 100], [40, 100], color="#777777", ls="--", lw=1)
    places = _label_places(frames)
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


def label_intervals(frames: dict, pairs: dict, records: dict) -> Figure:
    """True counts against recovered ones with their 90 % intervals, a panel for each batch size; at most 300 classes."""
    table = frames["labels"].dropna(subset=["true", "low", "batch_size"])
    if not len(table):
        return _nothing("no method with intervals was scored against truth")
    table = table[table["method"] == table["method"].iloc[0]]
    sizes = sorted(table["batch_size"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(2.7 * len(sizes) + 0.4, 2.8), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        own = table[table["batch_size"] == size]
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
    axes[0, 0].set_ylabel(f"recovered by {table['method'].iloc[0]}")
    figure.tight_layout()
    return figure


def label_table(frames: dict, pairs: dict, records: dict) -> Figure:
    """Methods × settings, mean IRec; best of each setting in bold, uniform guessing under a line, below it in grey."""
    cells = (
        frames["cells"]
        .query("attack == 'labels'")
        .dropna(subset=["batch_size"])
        .sort_values("batch_size", kind="stable")
    )
    if not cells["irec"].notna().any():
        return _nothing("no label estimate was scored against truth")
    settings = "N=" + cells["batch_size"].map("{:g}".format) + " " + _label_settings(cells)
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


SHOWN_EFFECTS = 40


def effects(frames: dict, pairs: dict, records: dict) -> Figure:
    """What one setting changes: the difference from the base cell, in dB or in share of labels, with 95 % intervals."""
    table = frames["effects"].dropna(subset=["difference"])
    panels = [
        (table[(table["attack"] != "labels") & (table["metric"] == "psnr")], "PSNR, difference (dB)"),
        (
            table[(table["attack"] == "labels") & (table["metric"] == "irec")],
            "labels recovered, difference (IRec)",
        ),
    ]
    panels = [(own, name) for own, name in panels if len(own)]
    if not panels:
        return _nothing("no two cells differ in one setting alone")
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
        kinds = list(dict.fromkeys(own["axis"]))
        for y, (_, row) in enumerate(own.iterrows()):
            colour = COLOURS[kinds.index(row["axis"]) % len(COLOURS)]
            low, high = (
                row["difference"] if pd.isna(row[f"difference_{end}"]) else row[f"difference_{end}"]
                for end in ("low", "high")
            )
            axis.plot([low, high], [y, y], color=colour, lw=1.4)
            axis.plot(
                row["difference"],
                y,
                MARKERS[kinds.index(row["axis"]) % len(MARKERS)],
                color=colour,
                ms=4.5,
                mfc=colour if row["paired"] else "white",
            )
        axis.axvline(0, color="#777777", lw=1)
        axis.set_yticks(
            range(len(own)),
            [
                f"{setting_name(r.axis)}: {short(r.base)} → {short(r.value)}  ({r.of})"
                for r in own.itertuples()
            ],
            fontsize=6.5,
        )
        axis.set(xlabel=name, ylim=(len(own) - 0.5, -0.5))
    figure.tight_layout()
    return figure


SHOWN_SPREADS = 30


def seeds(frames: dict, pairs: dict, records: dict) -> Figure:
    """Every trial of every cell: how much the draw of the clients and the seed matter. PSNR in dB."""
    trials = frames["trials"].query("attack != 'labels'").dropna(subset=["psnr", "batch_size"])
    if not len(trials):
        return _nothing("no trial was scored against truth")
    trials = trials.drop_duplicates(["cell", "seed"])
    cells = trials.drop_duplicates("cell").sort_values(["batch_size", "attack"], kind="stable")
    names = named(cells)
    cells = cells[:SHOWN_SPREADS]
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.24 * len(cells)))
    sizes = sorted(cells["batch_size"].unique())
    for y, (_, cell) in enumerate(cells.iterrows()):
        values = trials.loc[trials["cell"] == cell["cell"], "psnr"].to_numpy()
        colour = COLOURS[sizes.index(cell["batch_size"]) % len(COLOURS)]
        axis.plot(values, y + np.linspace(-0.22, 0.22, len(values)), "o", ms=3, alpha=0.7, color=colour, lw=0)
        axis.plot([np.median(values)] * 2, [y - 0.34, y + 0.34], color=colour, lw=2)
    axis.axvline(20, color="#999999", lw=0.8, ls=":")
    axis.set_yticks(range(len(cells)), names[cells.index], fontsize=6.5)
    axis.set(xlabel="PSNR (dB) of each trial; bar: median", ylim=(len(cells) - 0.5, -0.5))
    return figure


FIGURES = {
    "reconstructions": reconstructions,
    "recovery": recovery,
    "psnr_by_batch_size": psnr_by_batch_size,
    "weighting": weighting,
    "effects": effects,
    "seeds": seeds,
    "loss_curves": loss_curves,
    "label_recovery": label_recovery,
    "label_counts": label_counts,
    "label_skill": label_skill,
    "label_coverage": label_coverage,
    "label_intervals": label_intervals,
    "label_table": label_table,
}


def mapping(report: dict, singular: dict[str, np.ndarray], floor: dict[str, np.ndarray]) -> Figure:
    """Norm of each tensor's pseudo-gradient, and singular values of the dense ones against the rounding noise."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1))
    tensors = report["tensors"]
    left.barh([t["variable"] for t in tensors], [t["norm"] for t in tensors], color=COLOURS[0])
    norms = [t["norm"] for t in tensors if t["norm"] > 0]
    decades = bool(norms) and max(norms) > 30 * min(norms)  # below that a logarithmic axis has hardly a label
    left.set(xscale="log" if decades else "linear", xlabel="norm of the pseudo-gradient, mean over draws")
    left.invert_yaxis()
    left.tick_params(labelsize=7)
    if decades:
        left.xaxis.set_minor_formatter(NullFormatter())  # decades are enough, and the rest would overlap
    for index, (name, values) in enumerate(singular.items()):
        colour = COLOURS[index % len(COLOURS)]
        positive = np.maximum(values, floor[name][:, None] * 1e-2)
        right.semilogy(np.arange(1, values.shape[1] + 1), positive.T, color=colour, lw=0.7, alpha=0.7)
        right.plot(
            [],
            [],
            color=colour,
            label=f"{name} (rank {np.median((values > floor[name][:, None]).sum(axis=1)):.0f})",
        )
        right.axhline(np.median(floor[name]), color=colour, ls=":", lw=1)
    right.set(xlabel="index", ylabel="singular value of the delta")
    if singular:
        right.legend(fontsize=7, title="dotted: noise floor", title_fontsize=7)
    figure.tight_layout()
    return figure


def vae_panel(
    history: list[dict], held_out: np.ndarray, reconstructed: np.ndarray, samples: np.ndarray, latent: int
) -> Figure:
    """Learning curve, held-out images above their reconstructions, and samples from the prior."""
    figure = plt.figure(figsize=(10, 3))
    outer = figure.add_gridspec(1, 3, width_ratios=[1.25, 1, 1], wspace=0.12)
    axis = figure.add_subplot(outer[0])
    epochs = [row["epoch"] for row in history]
    axis.plot(epochs, [row["elbo"] for row in history], label="training")
    axis.plot(epochs, [row["held_out_elbo"] for row in history], label="held out")
    axis.set(xlabel="epoch", ylabel="ELBO (nats per image)", title=f"{latent}-dimensional VAE")
    axis.legend(fontsize=7)
    for column, (title, rows) in enumerate(
        (
            ("held out / reconstructed", _interleave(held_out[:8], reconstructed[:8])),
            ("samples", samples[:16]),
        )
    ):
        inner = outer[column + 1].subgridspec(4, 4, wspace=0.04, hspace=0.04)
        for index, image in enumerate(rows):
            cell = figure.add_subplot(inner[index // 4, index % 4])
            _picture(cell, image)
            if index == 0:
                cell.set_title(title, fontsize=8, loc="left")
    return figure


def _interleave(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Rows of four: true, reconstructed, true, reconstructed."""
    return np.concatenate([top[:4], bottom[:4], top[4:8], bottom[4:8]])
