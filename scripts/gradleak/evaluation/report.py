"""Tables and figures → one self-contained HTML page, in the order of a paper's results section."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.evaluation import (
    mapping_report,
    markup,
    record_report,
    report_tables,
    trial_notes,
    verdict_text,
)
from gradleak.evaluation.figures.registry import FIGURES
from gradleak.evaluation.markup import escape, small
from gradleak.evaluation.provenance import Provenance

SECTIONS = {
    "records": "Recovered records",
    "cells": "All cells",
    "effects": "What each setting changes",
    "figures": "Figures",
    "mapping": "Mapping of the updates",
    "priors": "Priors",
    "settings": "Settings",
    "provenance": "Provenance",
    "reading": "How to read this page",
}
OPTIONAL = ("records", "priors")  # sections that are left out where they are empty
FIRST = "reconstructions"  # the figure on the first screen
MAPPING_CAPTION = (
    "Left: norm of each tensor's pseudo-gradient. Right: singular values of the dense layers' updates. "
    "Each one above the dotted noise floor needs at least one image of its own in the batch."
)
PRIOR_CAPTION = "Learning curve, reconstructions and samples."


@dataclass(frozen=True)
class Report:
    """What the page shows. Tables: those of ``tables`` and ``comparisons``. Figures: paths of PNG files."""

    cells: pd.DataFrame
    trials: pd.DataFrame
    headline: pd.DataFrame
    effects: pd.DataFrame
    figures: list[Path]  # their stems are names of the registry
    mappings: dict[str, dict]  # heading → mapping.json
    mapping_figures: list[Path]  # in the order of ``mappings``
    prior_figures: list[Path]
    recovered: dict[str, list[dict]]  # cell of a table → the scores of its first block
    reference_accuracy: dict[str, float | None]  # data set → of its reference classifier on public examples
    descriptions: dict[str, str]  # study → its description
    settings: dict[str, dict]  # cell id → {attack, target, parameters}
    provenance: Provenance
    verdict: dict[str, Any] | None = None  # of ``verdict.verdict``, about one update from outside


def render(report: Report) -> str:
    """The page as a string."""
    sections = {
        "records": record_report.section(report.cells, report.recovered),
        "cells": _cells(report.cells),
        "effects": report_tables.effect_table(report.effects),
        "figures": _figures([path for path in report.figures if path.stem != FIRST]),
        "mapping": _mappings(report),
        "priors": "".join(markup.figure(path, PRIOR_CAPTION) for path in report.prior_figures),
        "settings": report_tables.settings_text(report.settings),
        "provenance": report_tables.provenance_tables(report.provenance),
        "reading": _reading(report.reference_accuracy),
    }
    names = [name for name in SECTIONS if sections[name] or name not in OPTIONAL]
    parts = [
        "<h1>What the updates leak</h1>",
        verdict_text.section(report.verdict),
        "<nav>" + "".join(f"<a href='#{name}'>{SECTIONS[name]}</a>" for name in names) + "</nav>",
        _summary(report),
        *(markup.figure(path, FIGURES[FIRST].caption) for path in report.figures if path.stem == FIRST),
        _failures(report.trials),
        trial_notes.section(report.trials),
        *(f"<h2 id='{name}'>{SECTIONS[name]}</h2>{sections[name]}" for name in names),
    ]
    return markup.page("gradleak report", "\n".join(parts))


def _summary(report: Report) -> str:
    """The first screen: what was run, the headline table, the worst leak and the worst failure."""
    trials, cells = report.trials, report.cells
    described = {name: text for name, text in report.descriptions.items() if text}
    parts = [small(f"<b>{escape(name)}</b>: {escape(text)}") for name, text in described.items()]
    parts.append(
        small(
            f"{len(trials)} trials in {len(cells)} cells, {int((trials['status'] == 'ok').sum())} ok. The "
            "table shows the best setting of each attack at each number N of images in the update, without "
            "oracle labels. Small print: 95 % bootstrap intervals over draws (clients). Share ≥ 20 dB: "
            "share of all images in the update that were recovered at 20 dB or better. IRec: share of the "
            "labels recovered. Control: the highest value that is reached without reading the update."
        )
    )
    if not len(report.headline):
        parts.append("<p>No truth was given, so the reconstructions are not compared with true images.</p>")
        return "".join(parts)
    parts += [
        report_tables.headline_table(report.headline),
        *_worst(report.headline),
        *_most_frequent(trials),
    ]
    return "".join(parts)


def _worst(headline: pd.DataFrame) -> list[str]:
    """Notes: where most images leak, and where an attack is furthest below its control."""
    images = headline[headline["attack"] != "labels"]
    notes = []
    leaks = images[images["share_20db"] > 0]
    if len(leaks):
        most = leaks.assign(images=leaks["share_20db"] * leaks["batch_size"]).sort_values("images").iloc[-1]
        notes.append(
            markup.note(
                f"<b>Worst leak:</b> {escape(most['attack'])} at N = {most['batch_size']:g} recovers "
                f"{100 * most['share_20db']:.0f} % of the images at 20 dB or better, {most['images']:.1f} of "
                f"{most['batch_size']:g} on average."
            )
        )
    gaps = images.assign(gap=images["psnr"] - images["control_value"]).dropna(subset=["gap"])
    if len(gaps) and gaps["gap"].min() < 0:
        row = gaps.sort_values("gap").iloc[0]
        notes.append(
            markup.note(
                f"<b>Worst failure:</b> {escape(row['attack'])} at N = {row['batch_size']:g} reaches "
                f"{row['psnr']:.1f} dB, {-row['gap']:.1f} dB less than a control that does not read the "
                f"update ({escape(row['control'])}, {row['control_value']:.1f} dB).",
                "worst",
            )
        )
    return notes


def _most_frequent(trials: pd.DataFrame) -> list[str]:
    """A note on the most frequent reason of trials that are not ok."""
    failed = trials[trials["status"] != "ok"]
    if not len(failed):
        return []
    reasons = failed.groupby(["attack", "reason"]).size().sort_values(ascending=False, kind="stable")
    (attack, why), count = reasons.index[0], reasons.iloc[0]
    return [
        markup.note(
            f"<b>Not ok:</b> {len(failed)} of {len(trials)} trials, most of them ({count}) {escape(attack)}: "
            f"{escape(why)}. <a href='#failures'>All reasons</a>",
            "worst",
        )
    ]


def _failures(trials: pd.DataFrame) -> str:
    """All trials that are not ok, by cell and reason."""
    failed = trials[trials["status"] != "ok"]
    if not len(failed):
        return ""
    reasons = failed.groupby(["cell", "attack", "status", "reason"]).size().reset_index(name="trials")
    rows = "".join(
        f"<li><b>{r.trials}</b> × {escape(r.attack)} <code>{r.cell}</code>: "
        f"{escape(r.status)}. {escape(r.reason)}</li>"
        for r in reasons.itertuples()
    )
    return f'<p class="bad" id="failures">Not ok: {len(failed)} of {len(trials)} trials.</p><ul>{rows}</ul>'


def _cells(cells: pd.DataFrame) -> str:
    return "".join(
        f"<h3>Study: {escape(study)}</h3>{report_tables.cell_tables(own)}"
        for study, own in cells.groupby("study", sort=False)
    )


def _figures(paths: list[Path]) -> str:
    """Figures by the groups of the registry, in its order."""
    found = {path.stem: path for path in paths}
    figures = [figure for name, figure in FIGURES.items() if name in found]
    return "".join(
        f"<h3>{group}</h3>"
        + "".join(markup.figure(found[one.name], one.caption) for one in figures if one.group == group)
        for group in dict.fromkeys(figure.group for figure in figures)
    )


def _mappings(report: Report) -> str:
    figures = [*report.mapping_figures, *[None] * len(report.mappings)]
    return "".join(
        mapping_report.section(name, found) + (markup.figure(path, MAPPING_CAPTION) if path else "")
        for (name, found), path in zip(report.mappings.items(), figures)
    )


def _classifier(accuracy: dict[str, float | None]) -> str:
    """What is known about the reference classifiers. accuracy: as in ``Report``."""
    if not accuracy:
        return (
            "There are no public images (dataset: none), so there is neither a reference classifier nor a "
            "nearest public image as a control."
        )
    right = [
        f"{escape(name)}: " + ("none, without classes to tell apart" if value is None else f"{value:.1%}")
        for name, value in accuracy.items()
    ]
    return (
        "The reference classifier is trained independently of the attacked model. Its accuracy on public "
        "examples, which it was not trained on, by data set: " + ", ".join(right).replace("%", " %") + "."
    )


def _reading(reference_accuracy: dict[str, float | None]) -> str:
    points = (
        "Only scoring reads the truth, except for rows marked <span class='oracle'>oracle</span>: their "
        "attacks received the true labels. They are never in the headline.",
        "Means are over draws (clients). Small print: the 95 % bootstrap interval over draws.",
        "Shares are of all true images of a batch. Reconstructions and true images are matched one to one. "
        "PSNR and SSIM are means over the matched pairs; of an attack that certifies, only certified "
        "images are matched.",
        "Certified images were accepted as members without truth. False positives are certified images "
        "with less than 20 dB to every true image.",
        "The expected PSNR of certified images is computed from the update, without truth, over the pixels "
        "that affect some unit of the network. Its order is more reliable than its value.",
        "Controls use at most the norms or singular values of the update: a random gradient, labels "
        "without the gradient, uniform label guesses, the nearest public image (found with the truth).",
        _classifier(reference_accuracy),
        "Relative error: the RMSE of the matched pairs as a multiple of that of the mean public example. "
        "Perceptual distance: 1 − cosine in the features of the reference classifier. Fields right: the "
        "share of the fields of all true records of a table; beside it, that of guessing the most frequent "
        "category and the median.",
        "Tables: <code>results/tables/*.csv</code>, the headline also as <code>headline.tex</code>. "
        "Figures: <code>.png</code> and <code>.pdf</code> in <code>results/figures/</code>. Every trial: "
        "<code>make ui</code>.",
    )
    return "<ul>" + "".join(f"<li>{point}</li>" for point in points) + "</ul>"
