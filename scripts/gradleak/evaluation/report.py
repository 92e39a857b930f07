"""Tables and figures → one self-contained HTML page that reads as a paper's results section."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.evaluation import mapping_report
from gradleak.evaluation.figures.registry import FIGURES

COLUMNS = {
    "share_20db": ("share ≥ 20 dB", 2),
    "psnr": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "share_30db": ("share ≥ 30 dB", 2),
    "reference_accuracy": ("reference accuracy", 2),
    "irec": ("labels IRec", 2),
    "skill": ("label skill", 2),
    "certified": ("certified images", 1),
    "false_positives": ("of them wrong", 1),
    "expected_psnr": ("PSNR expected of them (dB)", 1),
    "samples_estimated": ("N by certificates", 1),
    "samples_exact": ("N right", 2),
    "nearest_public_psnr": ("nearest public (dB)", 1),
    "prior_ceiling_psnr": ("prior's ceiling (dB)", 1),
}
MAPPING_CAPTION = (
    "Left: how large each tensor's pseudo-gradient is. Right: singular values of the dense layers' updates; each one "
    "above the dotted noise floor is a direction that needs an image of its own behind it."
)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:1.5em auto;padding:0 1em;color:#1a1a1a}
h1{font-size:1.6em;margin:0}h2{margin-top:2em;border-bottom:1px solid #ddd}h3{margin-bottom:.3em}
table{border-collapse:collapse;font-size:13px;width:100%}th,td{padding:.25em .5em;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
th{background:#f5f5f5}td.w,th.w{text-align:left;white-space:normal}tr:target{outline:2px solid #0072B2}
.ci{color:#666;font-size:11px}.bad{background:#fde8e0}.oracle{color:#a33;font-weight:600}.above{font-weight:600}.below{color:#8a3b00}
figure{margin:1.5em 0}figure img{max-width:100%}figcaption{color:#555;font-size:13px}.wrap{overflow-x:auto}
.note{background:#f3f7fb;border-left:4px solid #0072B2;padding:.6em 1em;margin:.6em 0}.worst{background:#fdf3ec;border-left-color:#D55E00}
.note p{margin:.2em 0}code{background:#f3f3f3;padding:0 .25em}pre{background:#f6f6f6;padding:.6em 1em;overflow-x:auto;font-size:12.5px}
nav{font-size:13px;color:#555}nav a{margin-right:1em}a{color:#0072B2}.small{font-size:13px;color:#555;margin:.3em 0}
@media print{body{max-width:none;margin:0;font-size:11px}figure,tr,.note{break-inside:avoid}h2,h3,h4{break-after:avoid}.ci{display:block;white-space:nowrap}nav{display:none}table,pre{font-size:9px}.wrap,pre{overflow:visible;white-space:pre-wrap}td,th{white-space:normal}}
"""
SECTIONS = {
    "cells": "All cells",
    "effects": "What each setting changes",
    "figures": "Figures",
    "mapping": "Was the update understood?",
    "priors": "Priors",
    "settings": "Settings",
    "provenance": "Provenance",
    "reading": "How to read this",
}
VERDICTS = {"above": "above it", "below": "below it", "not told apart": "not told apart", "no control": ""}


def render(
    cells: pd.DataFrame,
    trials: pd.DataFrame,
    headline: pd.DataFrame,
    effects: pd.DataFrame,
    figures: list[Path],
    mappings: dict[str, dict],
    mapping_figures: list[Path],
    prior_figures: list[Path],
    reference: dict[str, float],
    descriptions: dict[str, str],
    settings: dict[str, dict],
    provenance: dict[str, Any],
) -> str:
    """The page as a string. Tables as in ``tables`` and ``comparisons``; figures by path, their stems name the captions.

    settings: cell id → {attack, target, parameters}. provenance: what made this page, see ``scripts/write_report.py``.
    """
    names = [name for name in SECTIONS if name != "priors" or prior_figures]
    parts = [
        "<h1>What the updates gave away</h1>",
        "<nav>" + "".join(f"<a href='#{name}'>{SECTIONS[name]}</a>" for name in names) + "</nav>",
        _summary(cells, trials, headline, descriptions),
    ]
    pictures = [path for path in figures if path.stem == "reconstructions"]
    parts += [_figure(path, FIGURES[path.stem].caption) for path in pictures]
    parts.append(_failures(trials))
    parts.append(_section("cells"))
    for study, own in cells.groupby("study", sort=False):
        images, labels = own[own["attack"] != "labels"], own[own["attack"] == "labels"]
        parts.append(f"<h3>Study: {_e(study)}</h3>")
        if len(images):
            parts.append("<h4>Images</h4>" + _table(images, [c for c in COLUMNS if images[c].notna().any()]))
        if len(labels):
            parts.append("<h4>Labels</h4>" + _table(labels, ["irec", "skill"]))
    parts.append(_section("effects") + _effects(effects))
    parts.append(
        _section("figures")
        + "".join(_figure(p, FIGURES[p.stem].caption) for p in figures if p not in pictures)
    )
    parts.append(_section("mapping"))
    for (target, found), path in zip(mappings.items(), [*mapping_figures, *[None] * len(mappings)]):
        parts.append(mapping_report.section(target, found) + (_figure(path, MAPPING_CAPTION) if path else ""))
    if prior_figures:
        parts.append(_section("priors"))
        parts += [_figure(path, "Learning curve, reconstructions and samples.") for path in prior_figures]
    parts += [_section("settings") + _settings(settings), _section("provenance") + _provenance(provenance)]
    right = ", ".join(f"{100 * v:.1f} %" for v in reference.values())
    parts.append(
        _section("reading") + "<ul>"
        "<li>No attack sees the truth; it is opened by the scoring alone. Rows marked <span class='oracle'>oracle</span> were given the true labels and make no headline.</li>"
        "<li>Means are over draws (clients); in small print the 95 % bootstrap interval over draws.</li>"
        "<li>Shares count all true images of a batch, each reconstruction once (one-to-one assignment); PSNR and SSIM are over the pairs, "
        "which of an attack that certifies are the images that it vouches for.</li>"
        "<li>The PSNR expected of certified images is what the update says of them, without truth, over the pixels that some unit of the net sees; "
        "trust the order more than the number.</li>"
        "<li>Controls did not read the update: a random gradient, labels without the gradient, uniform label guesses, the nearest public image (found with the truth).</li>"
        f"<li>The reference classifier is independent of the attacked model; on unseen real images it is right in {right} of the cases.</li>"
        "<li>Tables: <code>results/tables/*.csv</code>, the headline also as <code>headline.tex</code>. Figures: <code>.png</code> and <code>.pdf</code> "
        "in <code>results/figures/</code>. Every trial: <code>make ui</code>.</li></ul>"
    )
    body = "\n".join(parts)
    return f"<!doctype html><html lang='en'><meta charset='utf-8'><title>gradleak report</title><style>{STYLE}</style><body>{body}</body></html>\n"


def _section(name: str) -> str:
    return f"<h2 id='{name}'>{SECTIONS[name]}</h2>"


def _summary(
    cells: pd.DataFrame, trials: pd.DataFrame, headline: pd.DataFrame, descriptions: dict[str, str]
) -> str:
    """The first screen: what was run, the headline table, the worst leak and the worst failure."""
    parts = [
        f"<p class='small'><b>{_e(name)}</b>: {_e(text)}</p>" for name, text in descriptions.items() if text
    ]
    ok = int((trials["status"] == "ok").sum())
    parts.append(
        f"<p class='small'>{len(trials)} trials in {len(cells)} cells, {ok} ended well. Best setting of each attack at each number N of images in "
        "the update, without oracle labels; in small print 95 % bootstrap intervals over draws (clients). Share ≥ 20 dB: of all images in the "
        "update, those that were found again with a PSNR of 20 dB or more. IRec: share of the labels recovered. Control: the most that is reached "
        "without reading the update.</p>"
    )
    if not len(headline):
        return (
            "".join(parts)
            + "<p>No truth was given, so there is nothing to compare the reconstructions with.</p>"
        )
    order = headline.assign(last=headline["attack"] == "labels").sort_values(
        ["last", "batch_size", "attack"], kind="stable"
    )
    rows = []
    for _, row in order.iterrows():
        counted = (
            "–"
            if pd.isna(row["certified"])
            else f"{row['certified']:.1f} ({row['false_positives']:.1f} wrong)"
        )
        values = "".join(f"<td>{_value(row, name)}</td>" for name in ("share_20db", "psnr", "ssim", "irec"))
        digits = 2 if row["attack"] == "labels" else 1
        level = (
            "–"
            if pd.isna(row["control_value"])
            else f"{row['control_value']:.{digits}f} <span class='ci'>{_e(row['control'])}</span>"
        )
        kind = row["verdict"].split()[0]
        rows.append(
            f"<tr><td class='w'><b>{_e(row['attack'])}</b></td><td>{row['batch_size']:g}</td><td class='w'>{_e(row['setting'] or '–')}</td>{values}"
            f"<td>{counted}</td><td class='w'>{level}</td><td class='w {kind}'>{VERDICTS[row['verdict']]}</td></tr>"
        )
    head = (
        "<th class='w'>attack</th><th>N</th><th class='w'>setting</th><th>share ≥ 20 dB</th><th>PSNR (dB)</th><th>SSIM</th>"
        "<th>labels IRec</th><th>certified</th><th class='w'>best control</th><th class='w'>the attack is</th>"
    )
    if headline["certified"].isna().all():
        head = head.replace("<th>certified</th>", "")
        rows = [row.replace("<td>–</td><td class='w'>", "<td class='w'>") for row in rows]
    table = f"<div class='wrap'><table id='headline'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    return "".join(parts) + table + _worst(trials, headline)


def _worst(trials: pd.DataFrame, headline: pd.DataFrame) -> str:
    """What a reader should take away: where most leaks, and where an attack fails worst."""
    images = headline[headline["attack"] != "labels"]
    lines = []
    leaks = images[images["share_20db"] > 0]
    if len(leaks):
        most = leaks.assign(images=leaks["share_20db"] * leaks["batch_size"]).sort_values("images").iloc[-1]
        lines.append(
            f"<div class='note'><p><b>Worst leak:</b> {_e(most['attack'])} at N = {most['batch_size']:g} shows {100 * most['share_20db']:.0f} % of the images at "
            f"20 dB or better, {most['images']:.1f} of {most['batch_size']:g} on average.</p></div>"
        )
    failures = (
        images.assign(gap=images["psnr"] - images["control_value"]).dropna(subset=["gap"]).sort_values("gap")
    )
    if len(failures) and failures.iloc[0]["gap"] < 0:
        row = failures.iloc[0]
        lines.append(
            f"<div class='note worst'><p><b>Worst failure:</b> {_e(row['attack'])} at N = {row['batch_size']:g} reaches {row['psnr']:.1f} dB, {-row['gap']:.1f} dB "
            f"less than a control that never read the update ({_e(row['control'])}, {row['control_value']:.1f} dB): a good guess shows more.</p></div>"
        )
    failed = trials[trials["status"] != "ok"]
    if len(failed):
        reason = failed.groupby(["attack", "reason"]).size().sort_values(ascending=False, kind="stable")
        (attack, why), count = reason.index[0], reason.iloc[0]
        lines.append(
            f"<div class='note worst'><p><b>Not ok:</b> {len(failed)} of {len(trials)} trials, most of them ({count}) {_e(attack)}: {_e(why)}. "
            "<a href='#failures'>All reasons</a></p></div>"
        )
    return "".join(lines)


def _failures(trials: pd.DataFrame) -> str:
    failed = trials[trials["status"] != "ok"]
    if not len(failed):
        return ""
    reasons = failed.groupby(["cell", "attack", "status", "reason"]).size().reset_index(name="trials")
    rows = "".join(
        f"<li><b>{r.trials}</b> × {_e(r.attack)} <code>{r.cell}</code>: {_e(r.status)}. {_e(r.reason)}</li>"
        for r in reasons.itertuples()
    )
    return f'<p class="bad" id="failures">Not ok: {len(failed)} of {len(trials)} trials.</p><ul>{rows}</ul>'


EFFECTS_SHOWN = {"psnr": "PSNR (dB)", "share_20db": "share ≥ 20 dB", "irec": "labels IRec"}


def _effects(effects: pd.DataFrame) -> str:
    """The effect of each axis, on PSNR of image attacks and on IRec of label methods."""
    shown = effects[
        (effects["metric"] == "psnr") & (effects["attack"] != "labels")
        | (effects["metric"] == "irec") & (effects["attack"] == "labels")
    ]
    if not len(shown):
        return "<p>No two cells differ in one setting alone.</p>"
    rows = []
    for _, row in shown.iterrows():
        low, high, digits = row["difference_low"], row["difference_high"], 2 if row["metric"] == "irec" else 1
        interval = "" if pd.isna(low) else f" <span class='ci'>{low:+.{digits}f} to {high:+.{digits}f}</span>"
        sure = " class='above'" if not pd.isna(low) and (low > 0 or high < 0) else ""
        rows.append(
            f"<tr><td class='w'>{_e(row['axis'].replace('_', ' '))}</td><td class='w'>{_e(_word(row['base']))} → {_e(_word(row['value']))}</td>"
            f"<td class='w'>{_e(row['of'])}</td><td class='w'>{EFFECTS_SHOWN[row['metric']]}</td><td>{row['base_mean']:.{digits}f}</td><td>{row['mean']:.{digits}f}</td>"
            f"<td{sure}>{row['difference']:+.{digits}f}{interval}</td><td>{'paired' if row['paired'] else 'apart'}, {row['draws']}</td></tr>"
        )
    head = "".join(f"<th class='w'>{name}</th>" for name in ("setting", "from → to", "of", "metric"))
    head += "<th>base</th><th>with</th><th>difference</th><th>draws</th>"
    return (
        "<p class='small'>Every cell against the one that has the base value and agrees in all else. Paired by draw where both attacked the same "
        "updates; bold where the interval leaves out 0. All metrics: <code>results/tables/effects.csv</code>.</p>"
        f"<div class='wrap'><table id='effect-table'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _settings(settings: dict[str, dict]) -> str:
    """What is the same in all cells of an attack; where they differ is in the tables above."""
    parts = []
    for attack in dict.fromkeys(cell["attack"] for cell in settings.values()):
        own = [cell["parameters"] for cell in settings.values() if cell["attack"] == attack]
        shared = {
            name: value
            for name, value in own[0].items()
            if all(p.get(name) == value for p in own) and value is not None
        }
        varied = sorted({name for p in own for name in p if len({repr(q.get(name)) for q in own}) > 1})
        listed = ", ".join(f"{_e(name)} = <b>{_e(value)}</b>" for name, value in shared.items())
        parts.append(
            f"<p class='small'><b>{_e(attack)}</b>, {len(own)} cells. The same in all: {listed}. Varied: {_e(', '.join(varied)) or 'nothing'}.</p>"
        )
    return "".join(parts)


def _provenance(provenance: dict[str, Any]) -> str:
    facts = "".join(
        f"<tr><td class='w'>{_e(name)}</td><td class='w'><code>{_e(value)}</code></td></tr>"
        for name, value in provenance["facts"].items()
    )
    files = "".join(
        f"<tr><td class='w'><code>{_e(path)}</code></td><td class='w'><code>{_e(digest)}</code></td></tr>"
        for path, digest in provenance["files"].items()
    )
    return (
        f"<div class='wrap'><table>{facts}</table></div><p class='small'>To make it again, from the same revision of the code:</p><pre>{_e(provenance['commands'])}</pre>"
        f"<p class='small'>SHA-256 of the tables and of what the attacks read:</p><div class='wrap'><table>{files}</table></div>"
    )


def _table(cells: pd.DataFrame, columns: list[str]) -> str:
    parameters = [c for c in cells.columns if c.startswith("param.") and c != "param.target.batch_size"]
    named = ["target", "batch_size", "method", "weighting", "labels", "control", *parameters]
    varying = [c for c in named if cells[c].astype(str).nunique() > 1]
    head = "".join(f"<th class='w'>{_e(c.removeprefix('param.'))}</th>" for c in ["attack", *varying])
    head += (
        "".join(f"<th>{COLUMNS[c][0]}</th>" for c in columns)
        + "<th>draws</th><th>s/trial</th><th>CPU h</th><th>cell</th>"
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
            f"<tr{bad} id='cell-{cell['cell']}'>{''.join(words)}{''.join(numbers)}<td>{cell['draws']}</td><td>{cell['seconds_per_trial']:.1f}</td><td>{cell['cpu_hours']:.3f}</td><td><code>{cell['cell']}</code></td></tr>"
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


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"<figure id='figure-{_e(path.stem)}'><img alt='{_e(caption)}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{_e(caption)} <code>{_e(path)}</code></figcaption></figure>"
    )


def _e(text: Any) -> str:
    return html.escape(str(text), quote=True)
