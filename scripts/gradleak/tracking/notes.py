"""The description of a cell's run in MLflow's UI, in Markdown."""

from __future__ import annotations

import math

from gradleak.tracking import study_run

MEASURES = {  # metric → words, decimals
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "share_20db": ("share at 20 dB or better", 2),
    "irec": ("labels recovered", 2),
}


def of_cell(summary: dict) -> str:
    """The note of a cell. summary: its row of cells.csv."""
    lines = [f"{summary['ok']} of {summary['trials']} trials succeeded, on {summary['draws']} draws."]
    for name, (words, digits) in MEASURES.items():
        value, low, high = (summary[name + end] for end in ("", "_low", "_high"))
        if math.isfinite(value):
            interval = "" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})"
            lines.append(f"* {words}: **{value:.{digits}f}**{interval}")
    if summary["reasons"]:
        lines.append(f"* not ok: {summary['reasons']}")
    report = f"In the report: `results/report.html#cell-{summary['cell']}`."
    figures = f"All figures of the study: the run *{study_run.NAME}* (`tags.kind = 'study'`)."
    return "\n".join([*lines, "", f"{report} {figures}"])
