"""Which figures there are: name, group, inputs, condition and caption of each.

Read while the workflow is parsed, and by the report: no matplotlib, no pandas. ``draw`` has the drawing
functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StudyFacts:
    """What decides whether a figure has something to show."""

    attacks: frozenset[str]  # of all cells
    scored: frozenset[str]  # of the cells whose target has a truth
    has_intervals: bool  # whether a scored label method gives intervals
    has_pictures: bool = True  # whether an attack's target has examples that are no records of a table


@dataclass(frozen=True)
class Figure:
    """One figure of the studies."""

    name: str  # results/figures/{name}.png
    group: str  # the heading under which reports show it
    inputs: tuple[str, ...]  # tables by name; pairs and records: a file for each image cell
    is_shown: Callable[[StudyFacts], bool]
    caption: str


def _has_images(facts: StudyFacts) -> bool:
    return bool(facts.attacks - {"labels"})


def _has_scored_images(facts: StudyFacts) -> bool:
    return bool(facts.scored - {"labels"})


def _has_scored_labels(facts: StudyFacts) -> bool:
    return "labels" in facts.scored


IMAGES, SETTINGS, TRIALS, LABELS = "Images", "Settings", "Single trials", "Labels"
_ALL = (
    Figure(
        "reconstructions",
        IMAGES,
        ("cells", "pairs"),
        lambda facts: _has_images(facts) and facts.has_pictures,
        "True images (upper rows) and their reconstructions (lower rows), from the first seed of each "
        "cell. Pairs are matched one to one after the attack has ended. The best-matched pairs come first.",
    ),
    Figure(
        "recovery",
        IMAGES,
        ("cells",),
        _has_scored_images,
        "Share of the true images that were recovered at 20 dB or better, against one setting of the "
        "update, all else equal. Bars: 95 % bootstrap intervals over draws.",
    ),
    Figure(
        "psnr_by_batch_size",
        IMAGES,
        ("cells",),
        _has_scored_images,
        "PSNR against the number of images in the update. Bars: 95 % bootstrap intervals over draws. "
        "Dashed: the public image nearest to each true one, a control that needs the truth. An attack "
        "below it is no better than a good guess. Where cells cover several sizes, variants of them at one"
        " size are in the figure `recovery` alone.",
    ),
    Figure(
        "weighting",
        SETTINGS,
        ("cells",),
        lambda facts: "dlg" in facts.scored,
        "How the weighting of layers in the matching loss changes the PSNR of DLG. Bars: 95 % bootstrap "
        "intervals over draws.",
    ),
    Figure(
        "effects",
        SETTINGS,
        ("effects",),
        lambda facts: bool(facts.scored),
        "What one setting changes: difference from the base value, all else equal, with 95 % bootstrap "
        "intervals. Filled: paired by draw, both cells attacked the same updates. Open: different updates."
        " At most forty of each kind, the largest; all are in results/tables/effects.csv.",
    ),
    Figure(
        "seeds",
        TRIALS,
        ("trials",),
        _has_scored_images,
        "Every trial of every cell. Each dot is a seed on a draw; bar: the median. Dotted: 20 dB.",
    ),
    Figure(
        "loss_curves",
        TRIALS,
        ("cells", "records"),
        _has_images,
        "Each attack's own objective. Thin: single seeds. Bold: their median.",
    ),
    Figure(
        "label_recovery",
        LABELS,
        ("cells",),
        _has_scored_labels,
        "Share of labels recovered (IRec). Dashed: uniform guessing. Bars: 95 % bootstrap intervals over "
        "draws.",
    ),
    Figure(
        "label_counts",
        LABELS,
        ("cells", "labels"),
        _has_scored_labels,
        "Images per class, recovered against true, over all trials. Area: how often. On the diagonal the "
        "count is right.",
    ),
    Figure(
        "label_skill",
        LABELS,
        ("cells",),
        _has_scored_labels,
        "Skill: the gain in IRec over uniform guessing, as a share of the largest possible gain. Dashed: "
        "uniform guessing.",
    ),
    Figure(
        "label_table",
        LABELS,
        ("cells",),
        _has_scored_labels,
        "Mean IRec of every method in every setting. Bold: the best. Below the line: uniform guessing. "
        "Grey: worse than it.",
    ),
    Figure(
        "label_coverage",
        LABELS,
        ("cells",),
        lambda facts: facts.has_intervals,
        "Left: share of class counts that the intervals cover, against their nominal coverage; dots: "
        "cells. Right: the intervals' width.",
    ),
    Figure(
        "label_intervals",
        LABELS,
        ("labels",),
        lambda facts: facts.has_intervals,
        "Class counts with their 90 % intervals against the true ones. Orange: the interval misses the "
        "truth.",
    ),
)
FIGURES = {figure.name: figure for figure in _ALL}


def shown(facts: StudyFacts) -> list[str]:
    """The names of the figures that have something to show."""
    return [figure.name for figure in FIGURES.values() if figure.is_shown(facts)]
