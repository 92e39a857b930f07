"""What all figures share: rcParams, colours (Okabe–Ito), small drawing helpers, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from gradleak.files import replacing
from gradleak.images import as_picture

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
# Metadata by suffix. Without dates and versions equal figures are equal bytes.
UNDATED = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Producer": None, "Creator": None}}


def save(figure: Figure, *paths: str | Path) -> None:
    """Write ``figure`` to each path, in the format of its suffix. Equal figures are equal bytes."""
    for path in map(Path, paths):
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata=UNDATED[path.suffix])
    plt.close(figure)


def picture(axis: Any, image: np.ndarray) -> None:
    """Draw an image [H, W, C], uint8 or in [0, 1], without ticks and frame; a vector is one row of it."""
    shown = as_picture(image)
    axis.imshow(
        shown[..., 0] if shown.shape[-1] == 1 else shown,
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


def spread(cells: pd.DataFrame, metric: str) -> np.ndarray:
    """[2, cells]: the distance of a metric to the lower and the upper end of its interval; 0 without one."""
    bounds = cells[[f"{metric}_low", f"{metric}_high"]].to_numpy().T
    return np.nan_to_num(np.abs(bounds - cells[metric].to_numpy()))


def error_line(
    axis: Any, line: tuple[int, str], x: list, cells: pd.DataFrame, metric: str, **style: Any
) -> ErrorbarContainer:
    """Draw a metric of ``cells`` with its intervals at ``x``. line: its number in the figure, and its label.

    Where the colours are used up they start again, with other markers, every second time hollow.
    """
    index, label = line
    again = index // len(COLOURS)
    return axis.errorbar(
        x,
        cells[metric],
        yerr=spread(cells, metric),
        marker=MARKERS[(index + again) % len(MARKERS)],
        mfc="white" if again % 2 else None,
        ms=4,
        capsize=2,
        lw=1.2,
        label=label,
        **style,
    )


def message(text: str) -> Figure:
    """A figure that holds nothing but ``text``, why there is nothing to draw: every trial may have failed."""
    figure, axis = plt.subplots(figsize=(4, 1))
    axis.axis("off")
    axis.text(0.5, 0.5, text, ha="center", va="center", color="#555555")
    return figure
