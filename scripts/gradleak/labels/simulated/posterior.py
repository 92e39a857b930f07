"""The simulated posterior: regress counts on updates of virtual clients, with conformal intervals. Ours.

Virtual clients draw public images under a broad prior of compositions and train under the published settings. Boosted
trees learn counts from what each update says of each class; the public images are cut in halves, and trees of one
half's rounds predict the other's, so that corrections and intervals are calibrated on images that the trees never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.labels.evidence import (
    LEVELS,
    Estimate,
    Evidence,
    Public,
    Rounds,
    confusion,
    counted,
    simplex,
    solve_confusion,
)
from gradleak.labels.methods import rank1
from gradleak.labels.simulated import correction, linear
from gradleak.labels.simulated.summaries import summaries
from gradleak.labels.simulated.virtual import as_evidence, half, rounds_of

TREES = {
    "max_iter": 400,
    "learning_rate": 0.05,
    "min_samples_leaf": 60,
    "max_features": 0.3,
    "random_state": 0,
    "early_stopping": False,
}
EVEN_BINS, COUNT_BINS = 5, 6
LEAST = 50  # class counts in a stratum of one half, below which its intervals are taken from all


@dataclass(frozen=True)
class Fitted:
    """All that the virtual rounds taught. held_out: (S, C), their counts as predicted without their half's images."""

    rounds: Rounds
    held_out: np.ndarray
    linear: linear.Fitted
    trees: tuple[Any, Any] | None  # None where the linear estimate is as good
    correction: correction.Correction  # of what the trees say
    bins: correction.Bins
    count_edges: np.ndarray
    quantiles: np.ndarray  # (L, 2, EVEN_BINS, COUNT_BINS + 1), residuals in images

    def predict(self, evidence: Evidence) -> np.ndarray:
        """Real counts (D, C), on the simplex."""
        base = self.linear.predict(evidence)
        if self.trees is None:
            return simplex(base, evidence.samples)
        rows = _rows(evidence, evidence.public, base)
        found = np.mean([_grow(tree, rows, evidence.samples) for tree in self.trees], axis=0)
        return self.correction(found)

    def intervals(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """low, high: int (L, D, C), the integers that the conformal intervals hold."""
        samples = predicted.sum(axis=1).round().astype(int)[:, None]
        even, count = self.bins.of(predicted)[:, None], np.searchsorted(self.count_edges, predicted)
        low = np.ceil(predicted + self.quantiles[:, 0, even, count] - 1e-6)
        high = np.floor(predicted + self.quantiles[:, 1, even, count] + 1e-6)
        middle = predicted.round()
        return (
            np.clip(np.minimum(low, middle), 0, samples).astype(int),
            np.clip(np.maximum(high, middle), 0, samples).astype(int),
        )


def fit(evidence: Evidence) -> Fitted:
    """What virtual rounds teach of N images from such a client; the evidence's own gradients are not looked at."""
    learnt, key = evidence.public.learnt, (evidence.samples, evidence.client)
    if key not in learnt:
        learnt[key] = _learn(evidence)
    return learnt[key]


def _learn(evidence: Evidence) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rounds, samples = rounds_of(evidence), evidence.samples
    base = linear.fit(evidence, rounds)
    parts = []
    for fold in (0, 1):
        own, public = rounds.fold == fold, half(evidence.public, 1 - fold)
        parts.append((own, _rows(as_evidence(evidence, rounds, own, public), public, base.held_out[own])))
    trees, grown = [], np.empty(rounds.counts.shape)
    for own, rows in parts:
        flat = rows.reshape(-1, rows.shape[-1])
        tree = HistGradientBoostingRegressor(categorical_features=[flat.shape[1] - 1], **TREES)
        trees.append(tree.fit(flat, rounds.counts[own].ravel() / samples))
    for tree, (own, rows) in zip(reversed(trees), parts, strict=True):
        grown[own] = _grow(tree, rows, samples)
    plain = simplex(base.held_out, samples)
    corrects, corrected = correction.fit(grown, rounds.counts, rounds.fold, EVEN_BINS)
    use_trees = np.minimum(corrected, rounds.counts).sum() > np.minimum(plain, rounds.counts).sum()
    held_out = corrected if use_trees else plain
    bins, edges = correction.bins_of(held_out, EVEN_BINS), _edges(held_out.ravel(), COUNT_BINS)
    quantiles = [
        _residual_quantiles(held_out[own], rounds.counts[own], bins.of(held_out[own]), edges)
        for own, _ in parts
    ]
    return Fitted(
        rounds, held_out, base, tuple(trees) if use_trees else None, corrects, bins, edges, _wider(*quantiles)
    )


def _rows(evidence: Evidence, public: Public, base: np.ndarray) -> np.ndarray:
    identity = solve_confusion(confusion(evidence), evidence.grad_bias, evidence.samples)
    return summaries(evidence, public, [base, identity, rank1.weighted(evidence)])


def _grow(tree: Any, rows: np.ndarray, samples: int) -> np.ndarray:
    shares = tree.predict(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:2])
    return simplex(samples * shares, samples)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))


def _residual_quantiles(
    predicted: np.ndarray, counts: np.ndarray, even: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Split-conformal quantiles of true − predicted, in strata of evenness and predicted count (Vovk 2003)."""
    residual, count = counts - predicted, np.searchsorted(edges, predicted)
    found = np.empty((len(LEVELS), 2, EVEN_BINS, COUNT_BINS + 1))
    for b in range(EVEN_BINS):
        for k in range(COUNT_BINS + 1):
            own = residual[(even[:, None] == b) & (count == k)]
            found[:, :, b, k] = _two_sided(own if len(own) >= LEAST else residual.ravel())
    return found


def _wider(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Quantiles (L, 2, …) that hold in either half of the public images.

    All rounds of a half share its images, so that one half's residuals show what its images have in common as bias and
    not as spread. An interval that covers in both allows for it.
    """
    return np.stack([np.minimum(one[:, 0], other[:, 0]), np.maximum(one[:, 1], other[:, 1])], axis=1)


def _two_sided(residual: np.ndarray) -> np.ndarray:
    """(L, 2): the order statistics that leave half of 1 − level on each side, with the finite-sample correction."""
    ordered, size = np.sort(residual), len(residual)
    tails = (1 - np.array(LEVELS)) / 2
    low = np.floor(tails * (size + 1)).astype(int) - 1
    high = np.ceil((1 - tails) * (size + 1)).astype(int) - 1
    return np.stack([ordered[np.clip(low, 0, size - 1)], ordered[np.clip(high, 0, size - 1)]], axis=1)


def estimate(evidence: Evidence) -> Estimate:
    return spoken(fit(evidence), evidence)


def spoken(fitted: Fitted, evidence: Evidence) -> Estimate:
    """The estimate of the draws, with intervals and the IRec of virtual rounds that look as even as each draw."""
    predicted = fitted.predict(evidence)
    low, high = fitted.intervals(predicted)
    recovered = np.minimum(fitted.held_out, fitted.rounds.counts).sum(axis=1) / evidence.samples
    which = fitted.bins.of(fitted.held_out)
    means = np.array(
        [recovered[which == b].mean() if (which == b).any() else recovered.mean() for b in range(EVEN_BINS)]
    )
    return counted(
        predicted, evidence.samples, low=low, high=high, expected_irec=means[fitted.bins.of(predicted)]
    )
