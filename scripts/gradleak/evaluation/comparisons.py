"""cells.csv and trials.csv → headline.csv and effects.csv, the tables of a paper's results section.

headline.csv: one row per study, attack and batch size: the best cell that used no oracle and is no control,
with the best control of that size. effects.csv: one row per metric and pair of cells that differ in one
setting only: the difference with a 95 % bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from gradleak.evaluation import bootstrap
from gradleak.evaluation.cell_names import PARAMETER, words
from gradleak.evaluation.tables import names, varying

HEADLINE_METRICS = ["share_20db", "psnr", "ssim", "field_accuracy", "irec"]
COUNTED = ["certified", "false_positives"]  # of attacks that certify
EFFECT_METRICS = ["psnr", "share_20db", "ssim", "irec"]
BASE = {
    "control": "none",
    "weighting": "uniform",
    "method": "uniform",
}  # the value that others are compared with
INTERVAL_SUFFIXES = ("", "_low", "_high")
METRIC_COLUMNS = [name + suffix for name in HEADLINE_METRICS for suffix in INTERVAL_SUFFIXES]
HEADLINE_COLUMNS = [
    *("study", "attack", "batch_size", "setting", "cell", "draws", "trials", "ok"),
    *METRIC_COLUMNS,
    *COUNTED,
    *("control", "control_value", "verdict"),
]
EFFECT_COLUMNS = [
    *("study", "attack", "batch_size", "axis", "base", "value", "of", "metric", "base_mean", "mean"),
    *("difference", "difference_low", "difference_high", "paired", "draws", "base_cell", "cell"),
]


def headline(cells: pd.DataFrame) -> pd.DataFrame:
    """The best cell without oracle labels of every attack at every batch size, HEADLINE_COLUMNS.

    Cells are ranked by the share at 20 dB, then by PSNR; label cells by IRec. The verdict is of the cell with
    the highest PSNR or IRec, see ``_control``.
    """
    rows = []
    without_oracle = cells[~cells["oracle"].astype(bool)]
    is_control = ~without_oracle["control"].isin(["", "none"]) | (without_oracle["method"] == "uniform")
    for (study, attack, size), own in without_oracle[~is_control].groupby(["study", "attack", "batch_size"]):
        order = ["irec"] if attack == "labels" else ["share_20db", "psnr"]
        own = own.dropna(subset=order[-1:])
        if not len(own):
            continue
        best = own.sort_values(order, ascending=False, kind="stable").iloc[0]
        controls = without_oracle[
            is_control & (without_oracle["study"] == study) & (without_oracle["batch_size"] == size)
        ]
        rows.append(
            {
                "study": study,
                "attack": attack,
                "batch_size": size,
                "setting": names(own, skip=("attack", "batch_size"))[best.name],
                **best[["cell", "draws", "trials", "ok", *METRIC_COLUMNS, *COUNTED]],
                **_control(controls, own, order[-1]),
            }
        )
    return pd.DataFrame(rows, columns=HEADLINE_COLUMNS)


def _control(controls: pd.DataFrame, own: pd.DataFrame, metric: str) -> dict[str, Any]:
    """The control with the highest ``metric`` (psnr or irec), and whether the cells ``own`` are above it.

    Controls use at most norms or singular values of the update. The nearest public image counts with its mean
    over ``own``. verdict: above or below if the interval of one cell excludes the control's value. This is
    the cell of ``own`` with the highest ``metric``. It need not be the row's cell, which is ranked by the
    share at 20 dB first. A cell without an interval counts with its mean.
    """
    best = own.sort_values(metric, ascending=False, kind="stable").iloc[0]
    controls = controls[(controls["attack"] == "labels") == (metric == "irec")].dropna(subset=[metric])
    levels = {words(cell, skip=("batch_size",)): cell[metric] for _, cell in controls.iterrows()}
    if metric == "psnr" and own["nearest_public_psnr"].notna().any():
        levels["nearest public image"] = own["nearest_public_psnr"].mean()
    if not levels:
        return {"control": "", "control_value": np.nan, "verdict": "no control"}
    name = max(levels, key=levels.get)
    low, high = best[f"{metric}_low"], best[f"{metric}_high"]
    if pd.isna(low):
        low = high = best[metric]
    verdict = "above" if low > levels[name] else "below" if high < levels[name] else "not told apart"
    return {"control": name, "control_value": levels[name], "verdict": verdict}


def effects(trials: pd.DataFrame) -> pd.DataFrame:
    """The effect of each setting, EFFECT_COLUMNS.

    Every cell is compared with the one that has the base value of one setting and agrees in all else.
    Differences are paired by draw where both cells attacked the same updates, and draws are resampled as
    pairs. Cells on different updates are resampled apart.
    """
    rows = []
    for (study, attack), own in trials[trials["status"] == "ok"].groupby(["study", "attack"], sort=False):
        cells = own.drop_duplicates("cell").set_index("cell")
        means = {
            name: own.groupby(["cell", "draw"])[name].mean()
            for name in EFFECT_METRICS
            if own[name].notna().any()
        }
        axes = varying(cells)
        for axis in axes:
            base = _base_value(cells, axis)
            paired = axis != "batch_size" and not axis.startswith(("target", "param.target"))
            for reference, cell in _pairs(cells, axes, axis, base):
                effect = {
                    "study": study,
                    "attack": attack,
                    "batch_size": cells.loc[cell, "batch_size"],
                    "axis": axis.removeprefix(PARAMETER),
                    "base": base,
                    "value": cells.loc[cell, axis],
                    "of": words(cells.loc[cell], skip=(axis,)),
                    "paired": paired,
                    "base_cell": reference,
                    "cell": cell,
                }
                rows += [effect | difference for difference in _differences(means, reference, cell, paired)]
    return pd.DataFrame(rows, columns=EFFECT_COLUMNS)


def _base_value(cells: pd.DataFrame, axis: str) -> Any:
    """The value of ``axis`` that others are compared with: that of BASE if present, else the most frequent.

    NaN: the setting is not set.
    """
    if BASE.get(axis) in set(cells[axis]):
        return BASE[axis]
    modes = cells[axis].mode(dropna=False)
    return np.nan if modes.isna().any() else modes.iloc[0]


def _pairs(cells: pd.DataFrame, axes: list[str], axis: str, base: Any) -> Iterator[tuple[str, str]]:
    """(cell with the base value, cell with another value) of ``axis`` that agree in all other ``axes``."""
    rest = [name for name in axes if name != axis]
    groups = [cells]
    if rest:
        shared = cells[cells.duplicated(rest, keep=False)]
        groups = [group for _, group in shared.groupby(rest, dropna=False)]
    for group in groups:
        is_base = group[axis].isna() if pd.isna(base) else group[axis] == base
        for cell in group.index[(group[axis] != base) & group[axis].notna()] if is_base.any() else ():
            yield group.index[is_base][0], cell


def _differences(means: dict[str, pd.Series], base: str, cell: str, paired: bool) -> Iterator[dict[str, Any]]:
    """One row per metric. means: metric → its mean for every (cell, draw)."""
    for metric, by_draw in means.items():
        one, other = (
            by_draw[name].dropna() if name in by_draw.index else by_draw.iloc[:0] for name in (base, cell)
        )
        if paired:
            draws = one.index.intersection(other.index)
            one, other = one.loc[draws], other.loc[draws]
        if not len(one) or not len(other):
            continue
        difference, low, high = (
            bootstrap.mean(other.to_numpy() - one.to_numpy(), np.arange(len(one)))
            if paired
            else bootstrap.difference(one.to_numpy(), other.to_numpy())
        )
        yield {
            "metric": metric,
            "base_mean": one.mean(),
            "mean": other.mean(),
            "difference": difference,
            "difference_low": low,
            "difference_high": high,
            "draws": min(len(one), len(other)),
        }
