"""Reconstructed images beside the true ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradleak.evaluation.figures.style import message, picture
from gradleak.evaluation.tables import names, shown_order

SHOWN_PAIRS = 10
SHOWN_CELLS = 16


def reconstructions(cells: pd.DataFrame, pairs: dict[str, Callable]) -> Figure:
    """True images above their reconstructions, best-matched pairs first.

    pairs: cell → a function that reads its matched pairs. A row starts with the first seed of its cell;
    further seeds follow where a batch has fewer images than the row.
    """
    cells = cells.drop_duplicates("cell").set_index("cell")
    titles = names(cells)
    order = shown_order(cells.loc[[cell for cell in cells.index if cell in pairs]])[:SHOWN_CELLS]
    if not order:
        return message("no reconstructions to show")
    height = 0.62
    figure = plt.figure(figsize=(SHOWN_PAIRS * height + 0.6, len(order) * (2 * height + 0.42)))
    outer = figure.add_gridspec(len(order), 1, hspace=0.42)
    for row, cell in enumerate(order):
        inner = outer[row].subgridspec(2, SHOWN_PAIRS, wspace=0.06, hspace=0.06)
        for column, pair in enumerate(_pairs_of(pairs[cell](), SHOWN_PAIRS)):
            above, below = (figure.add_subplot(inner[line, column]) for line in (0, 1))
            _draw_pair(above, below, pair, title=titles[cell] if column == 0 else None)
    return figure


def _draw_pair(above: Any, below: Any, pair: tuple, title: str | None) -> None:
    """One pair of ``_pairs_of``. title: of the row, given for its first column."""
    true, found, psnr = pair
    for axis, name, image in ((above, "true", true), (below, "found", found)):
        axis.axis("off") if image is None else picture(axis, image)
        if title is not None and found is not None:
            _note(axis, -0.12, 0.5, name, ha="right", va="center", color="#555555")
    if psnr is not None:
        _note(below, 0.5, -0.05, f"{psnr:.0f} dB", ha="center", va="top")
    if title is not None:
        above.set_title(title, fontsize=8, loc="left", pad=3)
        if found is None:
            _note(above, 0, 0.3, "no image was certified", ha="left", va="center", color="#555555")


def _note(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    """Small text beside a picture; ``x`` and ``y`` in shares of its size."""
    axis.text(x, y, text, transform=axis.transAxes, fontsize=6.5, **style)


def _pairs_of(data: dict[str, np.ndarray], size: int) -> list[tuple]:
    """``size`` times (true image, reconstruction, PSNR), seed by seed; None for what is not known or missing.

    data: the matched pairs of a block, see ``scoring.MatchedPairs``.
    """
    known = data["psnr"].shape[1] > 0
    rows = []
    for trial, count in enumerate(data["pairs"]):
        for k in range(min(int(count), data["found"].shape[1])):
            true, psnr = (data["truth"][trial, k], data["psnr"][trial, k]) if known else (None, None)
            rows.append((true, data["found"][trial, k], psnr))
    return (rows + [(None, None, None)] * size)[:size]
