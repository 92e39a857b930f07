"""headline.csv as a LaTeX table (booktabs)."""

from __future__ import annotations

from typing import Any

import pandas as pd

COLUMNS = {  # heading, digits
    "share_20db": ("Share $\\geq$ 20 dB", 2),
    "psnr": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "field_accuracy": ("Fields right", 2),
    "irec": ("Labels (IRec)", 2),
}
OF_TABLES = ("field_accuracy",)  # left out where no data set has records


def table(headline: pd.DataFrame) -> str:
    """The table's source: one row a row of ``headline``, each metric as its mean with its interval."""
    metrics = [name for name in COLUMNS if name not in OF_TABLES or headline[name].notna().any()]
    headings = ["Attack", "Setting", "$N$", *(COLUMNS[name][0] for name in metrics), "Best control"]
    lines = [
        "% mean (95 % bootstrap interval over draws); needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{llr{'l' * len(metrics)}l}}",
        "\\toprule",
        _line(headings),
        "\\midrule",
        *(_line(_row(row, metrics)) for _, row in headline.iterrows()),
        "\\bottomrule",
        "\\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def _line(parts: list[str]) -> str:
    return " & ".join(parts) + r" \\"


def _row(row: pd.Series, metrics: list[str]) -> list[str]:
    digits = 2 if row["attack"] == "labels" else 1
    control = "--"
    if not pd.isna(row["control_value"]):
        control = f"{row['control_value']:.{digits}f} ({_escaped(row['control'])})"
    values = [_with_interval(row, name, COLUMNS[name][1]) for name in metrics]
    return [_escaped(row["attack"]), _escaped(row["setting"]), f"{row['batch_size']:g}", *values, control]


def _with_interval(row: pd.Series, name: str, digits: int) -> str:
    if pd.isna(row[name]):
        return "--"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.{digits}f}" + ("" if pd.isna(low) else f" ({low:.{digits}f}--{high:.{digits}f})")


def _escaped(text: Any) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in str(text))
