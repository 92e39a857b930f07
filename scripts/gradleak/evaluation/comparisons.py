"""cells.csv and trials.csv → what a paper's results section says: the headline, and what each setting changes.

headline.csv: one row a study, attack and batch size: the best cell that used no oracle and is no control, beside the best
control of that size. effects.csv: one row a pair of cells that differ in one setting alone, and metric: the difference with
a 95 % bootstrap interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gradleak.evaluation.metrics import bootstrap

SHOWN = ["share_20db", "psnr", "ssim", "irec"]
COUNTED = ["certified", "false_positives"]  # of attacks that certify
COMPARED = ["psnr", "share_20db", "ssim", "irec"]
FLOORS = {
    "control": "none",
    "weighting": "uniform",
    "method": "uniform",
}  # the value that others are compared with
SAME = ("param.target.batch_size", "param.target.samples")  # said by batch_size


def words(cell: Any, skip: tuple[str, ...] = ()) -> str:
    """A cell in a few words: attack, and what sets it apart."""
    parts = [] if "attack" in skip else [cell["attack"]]
    for name, text in (
        ("method", "{}"),
        ("batch_size", "N={:.0f}"),
        ("weighting", "{}"),
        ("labels", "{} labels"),
        ("control", "{}"),
    ):
        value = cell.get(name)
        if (
            name in skip
            or value in ("", "none")
            or (name == "weighting" and value == "uniform")
            or pd.isna(value)
        ):
            continue
        parts.append(text.format(value).replace("_", " "))
    for name in ("init", "prior", "target.pretrain_epochs", "target.local_epochs"):
        value = cell.get(f"param.{name}")
        if (
            f"param.{name}" not in skip
            and value is not None
            and pd.notna(value)
            and (name, value) != ("init", "uniform")
        ):
            short = name.removeprefix("target.").replace("_", " ")
            parts.append(f"{short} {value:g}" if isinstance(value, float) else f"{value} {short}")
    return ", ".join(parts)


def named(cells: pd.DataFrame, skip: tuple[str, ...] = ()) -> pd.Series:
    """``words`` of every cell and, of cells that share these, what else sets each apart from most of the others."""
    names = cells.apply(lambda cell: words(cell, skip), axis=1)
    for _, own in cells.groupby(names, sort=False):
        for axis in varying(own):
            if axis not in skip:
                usual = None if own[axis].isna().any() else own[axis].mode().iloc[0]
                unusual = own[axis][own[axis].notna() & (own[axis] != usual)]
                names[unusual.index] += [f", {setting_name(axis)} {short(value)}" for value in unusual]
    return names


def setting_name(axis: str) -> str:
    """The column of a setting, for people."""
    return axis.removeprefix("param.").removeprefix("target.").replace("_", " ")


def short(value: Any) -> str:
    """The value of a setting, for people."""
    if pd.isna(value):
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ").removesuffix(".0")


def varying(cells: pd.DataFrame) -> list[str]:
    """The columns of settings in which ``cells`` differ."""
    settings = (
        "target",
        "batch_size",
        "weighting",
        "labels",
        "control",
        "method",
        *cells.columns[cells.columns.str.startswith("param.")],
    )
    return [c for c in settings if c in cells and c not in SAME and cells[c].nunique(dropna=False) > 1]


def along(cells: pd.DataFrame, axis: str) -> list[pd.DataFrame]:
    """Groups of cells of one attack that differ in ``axis`` alone, two or more each, in its order; what is not set comes first."""
    rest = ["attack", *(name for name in varying(cells) if name != axis)]
    groups = [own.drop_duplicates(axis) for _, own in cells.groupby(rest, dropna=False, sort=False)]
    return [own.sort_values(axis, na_position="first", kind="stable") for own in groups if len(own) > 1]


def headline(cells: pd.DataFrame) -> pd.DataFrame:
    """Of every attack at every batch size the best fair cell: by the share at 20 dB, then PSNR; of labels by IRec."""
    rows = []
    fair = cells[~cells["oracle"].astype(bool)]
    controlled = ~fair["control"].isin(["", "none"]) | (fair["method"] == "uniform")
    for (study, attack, size), own in fair[~controlled].groupby(["study", "attack", "batch_size"]):
        order = ["irec"] if attack == "labels" else ["share_20db", "psnr"]
        own = own.dropna(subset=order[-1:])
        if not len(own):
            continue
        best, names = (
            own.sort_values(order, ascending=False, kind="stable").iloc[0],
            named(own, skip=("attack", "batch_size")),
        )
        beside = fair[controlled & (fair["study"] == study) & (fair["batch_size"] == size)]
        rows.append(
            {
                "study": study,
                "attack": attack,
                "batch_size": size,
                "setting": names[best.name],
                "cell": best["cell"],
                "draws": best["draws"],
                "trials": best["trials"],
                "ok": best["ok"],
                **{name + end: best[name + end] for name in SHOWN for end in ("", "_low", "_high")},
                **{name: best[name] for name in COUNTED},
                **_control(beside, own, order[-1]),
            }
        )
    columns = [
        "study",
        "attack",
        "batch_size",
        "setting",
        "cell",
        "draws",
        "trials",
        "ok",
        *(name + end for name in SHOWN for end in ("", "_low", "_high")),
        *COUNTED,
        "control",
        "control_value",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def _control(beside: pd.DataFrame, own: pd.DataFrame, metric: str) -> dict[str, Any]:
    """The highest that anything reaches that did not read the update, in ``metric``, and whether the best cell is above it."""
    best = own.sort_values(metric, ascending=False, kind="stable").iloc[0]
    beside = beside[(beside["attack"] == "labels") == (metric == "irec")].dropna(subset=[metric])
    levels = {words(cell, skip=("batch_size",)): cell[metric] for _, cell in beside.iterrows()}
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
    """What one setting changes: every cell against the one that has the axis' base value and agrees in all else.

    The base value is the neutral one where there is one (no control, uniform weighting, uniform guessing), else the most
    frequent; NaN: it is not set. Differences are paired by draw where both cells attacked the same updates, and resampled as pairs; cells on
    different updates are resampled apart.
    """
    rows = []
    for (study, attack), own in trials[trials["status"] == "ok"].groupby(["study", "attack"], sort=False):
        cells = own.drop_duplicates("cell").set_index("cell")
        axes = varying(cells)
        means = {
            name: own.groupby(["cell", "draw"])[name].mean() for name in COMPARED if own[name].notna().any()
        }
        for axis in axes:
            base = FLOORS.get(axis)
            if base not in set(cells[axis]):
                modes = cells[axis].mode(dropna=False)
                base = np.nan if modes.isna().any() else modes.iloc[0]
            rest = [name for name in axes if name != axis]
            shared = cells[cells.duplicated(rest, keep=False)] if rest else cells
            for _, group in shared.groupby(rest, dropna=False) if rest else [((), cells)]:
                reference = group[group[axis].isna() if pd.isna(base) else group[axis] == base]
                if not len(reference):
                    continue
                for cell, row in group[(group[axis] != base) & group[axis].notna()].iterrows():
                    rows += _pair(
                        means,
                        reference.index[0],
                        cell,
                        {
                            "study": study,
                            "attack": attack,
                            "batch_size": row["batch_size"],
                            "axis": axis.removeprefix("param."),
                            "base": base,
                            "value": row[axis],
                            "of": words(row, skip=(axis,)),
                        },
                        paired=axis != "batch_size" and not axis.startswith(("target", "param.target")),
                    )
    columns = [
        "study",
        "attack",
        "batch_size",
        "axis",
        "base",
        "value",
        "of",
        "metric",
        "base_mean",
        "mean",
        "difference",
        "difference_low",
        "difference_high",
        "paired",
        "draws",
        "base_cell",
        "cell",
    ]
    return pd.DataFrame(rows, columns=columns)


def _pair(means: dict[str, pd.Series], base: str, cell: str, what: dict, paired: bool) -> list[dict]:
    rows = []
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
            bootstrap(other.to_numpy() - one.to_numpy(), np.arange(len(one)))
            if paired
            else _apart(one.to_numpy(), other.to_numpy())
        )
        rows.append(
            what
            | {
                "metric": metric,
                "base_mean": one.mean(),
                "mean": other.mean(),
                "difference": difference,
                "difference_low": low,
                "difference_high": high,
                "paired": paired,
                "draws": min(len(one), len(other)),
                "base_cell": base,
                "cell": cell,
            }
        )
    return rows


def _apart(one: np.ndarray, other: np.ndarray, resamples: int = 2000) -> tuple[float, float, float]:
    """Difference of means of two independent samples, with its 95 % percentile bootstrap interval."""
    if min(len(one), len(other)) < 2:
        return float(other.mean() - one.mean()), np.nan, np.nan
    rng = np.random.default_rng(0)
    sampled = [part[rng.integers(0, len(part), (resamples, len(part)))].mean(axis=1) for part in (one, other)]
    low, high = np.percentile(sampled[1] - sampled[0], [2.5, 97.5])
    return float(other.mean() - one.mean()), float(low), float(high)


LATEX = {
    "share_20db": ("Share $\\geq$ 20 dB", 2),
    "psnr": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "irec": ("Labels (IRec)", 2),
}


def latex(table: pd.DataFrame) -> str:
    """headline.csv as a LaTeX table (booktabs): mean and interval in a cell."""
    lines = [
        "% mean (95 % bootstrap interval over draws); needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{llr{'l' * len(SHOWN)}l}}",
        "\\toprule",
        " & ".join(["Attack", "Setting", "$N$", *(LATEX[name][0] for name in SHOWN), "Best control"])
        + r" \\",
        "\\midrule",
    ]
    for _, row in table.iterrows():
        values = [_with_interval(row, name, digits) for name, (_, digits) in LATEX.items()]
        digits = 2 if row["attack"] == "labels" else 1
        control = (
            "--"
            if pd.isna(row["control_value"])
            else f"{row['control_value']:.{digits}f} ({_escaped(row['control'])})"
        )
        lines.append(
            " & ".join(
                [
                    _escaped(row["attack"]),
                    _escaped(row["setting"]),
                    f"{row['batch_size']:g}",
                    *values,
                    control,
                ]
            )
            + r" \\"
        )
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _with_interval(row: pd.Series, name: str, digits: int) -> str:
    if pd.isna(row[name]):
        return "--"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.{digits}f}" + ("" if pd.isna(low) else f" ({low:.{digits}f}--{high:.{digits}f})")


def _escaped(text: Any) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
        c: f"\\{c}" for c in "&%$#_{}"
    }
    return "".join(special.get(character, character) for character in str(text))
