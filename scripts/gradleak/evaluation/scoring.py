"""A block's results against the truth: rows of results/scores/{cell}/{block}.json, and matched pairs.

A row holds a trial's seed and its metrics, see ``metrics``. A trial that is not ok has its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradleak.attacks.inversion_files import InversionFile, InversionTrial, padded
from gradleak.datasets.description import IMAGE, Description
from gradleak.datasets.table import Field
from gradleak.evaluation import metrics, record_metrics, reference_classifier
from gradleak.evaluation.reference_classifier import ReferenceClassifier
from gradleak.evaluation.truth import class_counts
from gradleak.images import psnr, to_float

SHOWN = 32  # matched pairs of a trial that are kept for the figures
SHOWN_LEVEL = 0.9  # of the intervals, in labels.csv


class Truth(NamedTuple):
    """The private batches of T trials."""

    x: np.ndarray  # uint8 [T, N, H, W, C]
    y: np.ndarray  # int [T, N], or multi-hot [T, N, C]


@dataclass(frozen=True)
class References:
    """What reconstructions are compared with besides the truth; nothing where there are no public images.

    classifier: None where the examples have several labels. public: float64 [P, H, W, C] in [0, 1], converted
    once, not for each trial.
    """

    classifier: ReferenceClassifier | None = None
    public: np.ndarray | None = None
    description: Description | None = None

    @cached_property
    def spread(self) -> float:
        """The standard deviation of public values about the mean of each: the RMSE of the mean example."""
        return 0.0 if self.public is None else float(np.sqrt(self.public.var(axis=0).mean()))

    @cached_property
    def typical(self) -> np.ndarray:
        """float64 (1, D), the typical public record."""
        assert self.public is not None
        return record_metrics.typical_record(self.public, self.fields_of(self.public))

    def fields_of(self, examples: np.ndarray) -> tuple[Field, ...]:
        """The fields of ``examples`` (n, …) where they are records of a table; else none."""
        fields = self.description.fields if self.description else ()
        is_record = np.prod(examples.shape[1:], dtype=int) == record_metrics.width(fields)
        return fields if is_record else ()


class MatchedPairs(NamedTuple):
    """The best pairs of one trial, at most SHOWN, best first."""

    found: np.ndarray  # [k, H, W, C] in [0, 1], reconstructions
    truth: np.ndarray  # [k, H, W, C] in [0, 1]; [0, H, W, C] without truth
    psnr: np.ndarray  # [k], dB; [0] without truth


def score_labels(found: dict[str, np.ndarray], y: np.ndarray | None, trials: list[dict]) -> list[dict]:
    """Rows of a label block.

    found: the arrays of results/labels/{cell}/{block}.npz. y: true labels [T, N], or multi-hot [T, N, C];
    None without truth.
    """
    rows = []
    shown = int(np.abs(found["levels"] - SHOWN_LEVEL).argmin()) if len(found["levels"]) else 0
    for index, trial in enumerate(trials):
        row: dict[str, Any] = {"seed": trial["seed"]}
        rows.append(row)
        if trial["status"] != "ok":
            continue
        counts, low, high = (found[name][index] for name in ("counts", "low", "high"))
        has_intervals = bool((high >= low).all())
        row["counts"] = counts.tolist()
        if has_intervals:
            row |= {"low": low[shown].tolist(), "high": high[shown].tolist()}
        if np.isfinite(found["expected_irec"][index]):
            row["expected_irec"] = float(found["expected_irec"][index])
        if y is not None:
            row |= _against_labels(counts, y[index])
            if has_intervals:
                row |= metrics.interval_metrics(low, high, np.array(row["true_counts"]), found["levels"])
    return rows


def score_images(
    found: InversionFile,
    truth: Truth,
    trials: list[dict],
    references: References,
    classes: int,
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Rows of an attack's block, and its matched pairs as ``as_arrays`` writes them.

    classes: of the model.
    """
    rows, pairs = [], []
    if truth.y.ndim == 3:
        classes = truth.y.shape[2]
    else:
        classes = max(classes, int(found.labels.max(initial=0)) + 1, int(truth.y.max()) + 1)
    nothing = np.zeros((0, *found.images.shape[2:]))
    for index, trial in enumerate(trials):
        row, shown = {"seed": trial["seed"]}, MatchedPairs(nothing, nothing, np.zeros(0))
        if trial["status"] == "ok":
            one, x = found.trial(index), to_float(truth.x[index])
            scored, shown = _score_trial(one, x, truth.y[index], classes, references)
            row |= scored | _against_certificates(one, x)
        rows.append(row)
        pairs.append(shown)
    return rows, as_arrays(pairs)


def without_truth(
    found: InversionFile, trials: list[dict], classes: int, references: References
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Rows of an attack's block on an update without truth: its own certificates. Images have no pairs.

    classes: of the model; labels beyond count as well.
    """
    rows, pairs = [], []
    fields = references.fields_of(found.images[0])
    for index, trial in enumerate(trials):
        one = found.trial(index)
        images, labels = one.images[one.accepted], one.labels[one.accepted]
        labels = labels[labels >= 0] if labels.ndim == 1 else labels  # −1: the update does not show it
        row = {"seed": trial["seed"], "counts": class_counts(labels, classes).tolist()}
        if trial["status"] == "ok" and "expected_psnr" in one.certificates:
            row |= metrics.certified(one.accepted, one.certificates["expected_psnr"], one.samples_estimated)
        if fields and trial["status"] == "ok":
            row["records"] = record_metrics.written_out(images, images[:0], fields)
        rows.append(row)
        pairs.append(MatchedPairs(images[:SHOWN], images[:0], np.zeros(0)))
    return rows, as_arrays(pairs)


def _score_trial(
    trial: InversionTrial, x: np.ndarray, y: np.ndarray, classes: int, references: References
) -> tuple[dict[str, Any], MatchedPairs]:
    """Metrics of the images that one trial accepted, and its best pairs. x: float32 (N, H, W, C); y: (N,), or
    multi-hot (N, C).
    """
    images, labels = trial.images[trial.accepted], trial.labels[trial.accepted]
    row, pairs = metrics.image_metrics(images, x)
    matched, of = pairs["found"], pairs["truth"]
    row |= _against_references(images[matched], x[of], y[of], references)
    if references.public is not None:
        nearest = metrics.pairwise_mse(x, references.public).min(axis=1)
        row["nearest_public_psnr"] = float(psnr(nearest).mean())
    known = labels >= 0 if y.ndim == 1 else np.ones(len(labels), bool)  # −1: the update does not show it
    counts = class_counts(labels[known], classes)
    row["counts"] = counts.tolist()
    # Of many labels the share of them that are right.
    right = (labels[matched] == y[of])[known[matched]]
    if len(right) or not len(labels):
        row["pair_label_accuracy"] = float(right.mean()) if len(right) else 0.0
    row |= _against_labels(counts, y)
    best = np.argsort(-pairs["psnr"], kind="stable")[:SHOWN]
    shown = MatchedPairs(images[matched[best]], x[of[best]], pairs["psnr"][best])
    if fields := references.fields_of(x):
        right = record_metrics.right_fields(images[matched], x[of], fields)
        row |= record_metrics.field_accuracy(right, fields, len(x))
        row["field_accuracy_chance"] = record_metrics.chance(references.typical, x, fields)
        row["records"] = record_metrics.written_out(shown.found, shown.truth, fields)
    return row, shown


def _against_references(
    found: np.ndarray, truth: np.ndarray, y: np.ndarray, references: References
) -> dict[str, float]:
    """Metrics of matched pairs (n, H, W, C) that need public examples; empty without pairs.

    relative_error: RMSE over the pairs' values divided by ``References.spread``, so that 1 is as good as the
    mean public example. y: (n,), or multi-hot (n, C).
    """
    row: dict[str, float] = {}
    if len(found) and references.spread > 0:
        mse = np.mean((found.astype(np.float64) - truth) ** 2)
        row["relative_error"] = float(np.sqrt(mse) / references.spread)
    if len(found) and y.ndim == 1 and references.classifier is not None:
        row["reference_accuracy"] = reference_classifier.accuracy(references.classifier, found, y)
        if references.description and references.description.kind == IMAGE:
            apart = reference_classifier.perceptual_distance(references.classifier, found, truth)
            row["perceptual_distance"] = float(apart.mean())
    return row


def _against_labels(counts: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    truth = class_counts(y, len(counts))
    return {
        "true_counts": truth.tolist(),
        **metrics.label_metrics(counts, truth, len(y) if y.ndim == 2 else 0),
    }


def _against_certificates(trial: InversionTrial, truth: np.ndarray) -> dict[str, float]:
    """How far the certificates of one trial can be trusted; empty for attacks that do not certify."""
    if "residual" not in trial.certificates:
        return {}
    return metrics.certificate_metrics(
        trial.images,
        trial.accepted,
        trial.certificates["residual"],
        trial.certificates["expected_psnr"],
        trial.samples_estimated,
        truth,
    )


def prior_ceilings(ceilings: list[dict[str, np.ndarray]], draws: list[int]) -> list[float]:
    """Mean PSNR in dB of each draw's true images after projection onto the prior.

    ceilings: the arrays draws [D] and psnr [D, N] of results/ceilings/.
    """
    best = {
        int(draw): float(values.mean())
        for part in ceilings
        for draw, values in zip(part["draws"], part["psnr"], strict=True)
    }
    return [best[draw] for draw in draws]


def as_arrays(pairs: list[MatchedPairs]) -> dict[str, np.ndarray]:
    """The arrays of results/scores/{cell}/{block}.npz.

    found, truth: uint8 [T, K, H, W, C]; psnr: float32 [T, K]; pairs: int [T]. pairs: how many entries of each
    trial are real. Shorter trials are padded with zeros.
    """
    found, truth, values = (padded(parts, 0, np.float32) for parts in zip(*pairs, strict=True))
    count = np.array([len(one.found) for one in pairs])
    return {"found": _to_bytes(found), "truth": _to_bytes(truth), "psnr": values, "pairs": count}


def _to_bytes(images: np.ndarray) -> np.ndarray:
    """float [0, 1] → uint8 0..255."""
    return np.round(images * 255).astype(np.uint8)
