"""Tables and figures → one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.captions import CAPTIONS

COLUMNS = {
    "psnr": ("PSNR (dB)", 1), "ssim": ("SSIM", 3), "share_20db": ("share ≥ 20 dB", 2), "share_30db": ("share ≥ 30 dB", 2),
    "judge_accuracy": ("judge accuracy", 2), "irec": ("labels IRec", 2), "skill": ("label skill", 2),
    "nearest_public_psnr": ("nearest public (dB)", 1), "prior_ceiling_psnr": ("prior's ceiling (dB)", 1),
}  # fmt: skip
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1a1a1a}
h1{font-size:1.6em;margin-bottom:.1em}h2{margin-top:2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:13px;width:100%}th,td{padding:.25em .5em;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
th{background:#f5f5f5;position:sticky;top:0}td.w,th.w{text-align:left;white-space:normal}
.ci{color:#777;font-size:11px}.bad{background:#fde8e0}.oracle{color:#a33;font-weight:600}
figure{margin:1.5em 0}figure img{max-width:100%}figcaption{color:#555;font-size:13px}.wrap{overflow-x:auto}
.note{background:#f3f7fb;border-left:4px solid #0072B2;padding:.6em 1em}code{background:#f3f3f3;padding:0 .25em}
"""


def render(
    cells: pd.DataFrame,
    trials: pd.DataFrame,
    figures: list[Path],
    mappings: dict[str, dict],
    mapping_figures: list[Path],
    prior_figures: list[Path],
    judge: dict[str, float],
    descriptions: dict[str, str],
) -> str:
    """The page as a string. cells and trials as in ``tables``; figures by path, their stems name the captions."""
    parts = [f"<h1>What the updates gave away</h1>{_headline(cells, trials)}"]
    failed = trials[trials["status"] != "ok"]
    if len(failed):
        reasons = failed.groupby(["cell", "attack", "status", "reason"]).size().reset_index(name="trials")
        rows = "".join(
            f"<li><b>{r.trials}</b> × {_e(r.attack)} <code>{r.cell}</code>: {_e(r.status)}. {_e(r.reason)}</li>"
            for r in reasons.itertuples()
        )
        parts.append(f'<p class="bad">Not ok: {len(failed)} of {len(trials)} trials.</p><ul>{rows}</ul>')
    for study, own in cells.groupby("study", sort=False):
        images, labels = own[own["attack"] != "labels"], own[own["attack"] == "labels"]
        parts.append(f"<h2>Study: {_e(study)}</h2><p>{_e(descriptions.get(str(study), ''))}</p>")
        if len(images):
            parts.append("<h3>Images</h3>" + _table(images, [c for c in COLUMNS if images[c].notna().any()]))
        if len(labels):
            parts.append("<h3>Labels</h3>" + _table(labels, ["irec", "skill"]))
    parts.append("<h2>Figures</h2>" + "".join(_figure(path, CAPTIONS.get(path.stem, "")) for path in figures))
    parts.append("<h2>Was the update understood?</h2>" + "".join(_mapping(t, m) for t, m in mappings.items()))
    parts += [
        _figure(path, f"Norms and singular values, target {path.stem.replace('_', ', draws ')}.")
        for path in mapping_figures
    ]
    if prior_figures:
        parts.append(
            "<h2>Priors</h2>"
            + "".join(_figure(path, "Learning curve, reconstructions and samples.") for path in prior_figures)
        )
    parts.append(
        "<h2>How to read this</h2><ul>"
        "<li>No attack sees the truth; it is opened by the scoring alone. Rows marked <span class='oracle'>oracle</span> were given the true labels.</li>"
        "<li>Means are over draws (clients); in small print the 95 % bootstrap interval over draws.</li>"
        "<li>Shares count all true images of a batch, each reconstruction once (one-to-one assignment).</li>"
        f"<li>The judge is an independent classifier; on unseen real images it is right in {', '.join(f'{100 * v:.1f} %' for v in judge.values())} of the cases.</li>"
        "<li>Tables: <code>results/tables/*.csv</code>. Every trial: <code>make ui</code>.</li></ul>"
    )
    body = "\n".join(parts)
    return f"<!doctype html><html lang='en'><meta charset='utf-8'><title>gradleak report</title><style>{STYLE}</style><body>{body}</body></html>\n"


def _headline(cells: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The best fair attack at each size of the batch, beside the best that any control reaches there."""
    images = cells[(cells["attack"] != "labels") & ~cells["oracle"].astype(bool)].dropna(subset=["psnr"])
    controlled = ~images["control"].isin(["", "none"])
    fair, controls = images[~controlled], images[controlled]
    if not len(fair):
        return f"<p>{len(trials)} trials. No truth was given, so there is nothing to compare the reconstructions with.</p>"
    lines = []
    for size, own in fair.groupby("batch_size"):
        best = own.loc[own["psnr"].idxmax()]
        beside = [
            controls.loc[controls["batch_size"] == size, "psnr"].max(),
            own["nearest_public_psnr"].mean(),
        ]
        level = max((value for value in beside if pd.notna(value)), default=None)
        verdict = "" if level is None else f"; the best control: {level:.1f} dB"
        if level is not None and best["psnr"] <= level:
            verdict += ", which <b>its mean does not reach</b>"
        lines.append(
            f"<li>N = {size:g}: <b>{best['psnr']:.1f} dB</b> by {_e(best['attack'])}, "
            f"{100 * best['share_20db']:.0f} % of the images at 20 dB or better{verdict}.</li>"
        )
    return (
        f"<p>{len(trials)} trials in {len(cells)} cells. Best attack on images, without oracle labels, at each number N "
        f"of images in the update:</p><ul>{''.join(lines)}</ul>"
    )


def _table(cells: pd.DataFrame, columns: list[str]) -> str:
    parameters = [c for c in cells.columns if c.startswith("param.") and c != "param.target.batch_size"]
    named = ["target", "batch_size", "method", "weighting", "labels", "control", *parameters]
    varying = [c for c in named if cells[c].astype(str).nunique() > 1]
    head = "".join(f"<th class='w'>{_e(c.removeprefix('param.'))}</th>" for c in ["attack", *varying])
    head += (
        "".join(f"<th>{COLUMNS[c][0]}</th>" for c in columns) + "<th>draws</th><th>s/trial</th><th>CPU h</th><th>cell</th>"
    )
    rows = []
    for _, cell in cells.sort_values(
        ["attack", "batch_size", *[v for v in varying if v != "batch_size"]]
    ).iterrows():
        words = [
            f"<td class='w'>{_e(cell['attack'])}{' <span class=oracle>oracle</span>' if cell['oracle'] else ''}</td>"
        ]
        words += [f"<td class='w'>{_e(_word(cell[c]))}</td>" for c in varying]
        numbers = [f"<td>{_value(cell, c)}</td>" for c in columns]
        bad = " class='bad'" if cell["ok"] < cell["trials"] else ""
        rows.append(
            f"<tr{bad}>{''.join(words)}{''.join(numbers)}<td>{cell['draws']}</td><td>{cell['seconds_per_trial']:.1f}</td><td>{cell['cpu_hours']:.3f}</td><td><code>{cell['cell']}</code></td></tr>"
        )
    return (
        f"<div class='wrap'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _value(cell: pd.Series, column: str) -> str:
    mean, digits = cell[column], COLUMNS[column][1]
    if pd.isna(mean):
        return "–"
    low, high = cell[f"{column}_low"], cell[f"{column}_high"]
    interval = "" if pd.isna(low) else f" <span class='ci'>{low:.{digits}f}–{high:.{digits}f}</span>"
    return f"{mean:.{digits}f}{interval}"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value).replace("_", " ")


def _mapping(name: str, found: dict) -> str:
    lines = [
        f"<li>{key}: <b>{_word(found[key]['value'])}</b> — {_e(found[key]['evidence'])}</li>"
        for key in ("sign", "scale", "samples")
    ]
    return (
        f"<div class='note'><b>{_e(name)}</b><ul>{''.join(lines)}<li>{_e(found['verdict'])}</li></ul></div>"
    )


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<figure><img alt='{_e(caption)}' src='data:image/png;base64,{data}'><figcaption>{_e(caption)} <code>{_e(str(path))}</code></figcaption></figure>"


def _e(text: Any) -> str:
    return html.escape(str(text), quote=True)
