"""The simulated posterior: regress counts on the updates of shadow clients, with conformal intervals.

Shadow clients draw public images with a broad prior over class shares and train under the published settings.
Boosted trees learn the counts from summaries of each update. The public images are split in halves; trees
that learn from the shadow clients of one half predict those of the other, so corrections and intervals are
calibrated on images that the trees have not seen. No published method.
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
    ShadowClients,
    confusion,
    counted,
    simplex,
    solve_confusion,
)
from gradleak.labels.methods import rank1
from gradleak.labels.simulated import correction, linear
from gradleak.labels.simulated.correction import Bins
from gradleak.labels.simulated.shadow import as_evidence, half, shadow_clients_of
from gradleak.labels.simulated.summaries import summaries

TREES = {
    "max_iter": 400,
    "learning_rate": 0.05,
    "min_samples_leaf": 60,
    "max_features": 0.3,
    "random_state": 0,
    "early_stopping": False,
}
EVEN_BINS, COUNT_BINS = 5, 6
LEAST = 50  # class counts in a stratum of one half; with fewer its quantiles are those of all strata


@dataclass(frozen=True)
class Fitted:
    """A regression on shadow clients. held_out: (S, C), their counts as predicted by the other half."""

    shadow: ShadowClients
    held_out: np.ndarray
    linear: linear.Fitted
    trees: tuple[Any, Any] | None  # None where the linear estimate recovers as much
    correction: correction.Correction  # of the predictions of the trees
    bins: Bins
    count_edges: np.ndarray
    quantiles: np.ndarray  # (L, 2, EVEN_BINS, COUNT_BINS + 1), residuals in images

    def predict(self, evidence: Evidence) -> np.ndarray:
        """Real counts (D, C), on the simplex."""
        base = self.linear.predict(evidence)
        if self.trees is None:
            return simplex(base, evidence.samples)
        rows = _rows(evidence, evidence.public, base)
        found = np.mean([_predict(tree, rows, evidence.samples) for tree in self.trees], axis=0)
        return self.correction(found)

    def intervals(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """low, high: int (L, D, C), the least and largest integer in each conformal interval."""
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
    """The regression for N images of such a client, learnt once for each public data; the leaked gradients
    are not used.
    """
    learnt, key = evidence.public.learnt, (evidence.samples, evidence.client)
    if key not in learnt:
        learnt[key] = _learn(evidence)
    return learnt[key]


def _learn(evidence: Evidence) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow, and the workflow imports this

    shadow, samples = shadow_clients_of(evidence), evidence.samples
    base = linear.fit(evidence, shadow)
    parts = []
    for fold in (0, 1):
        own, public = shadow.fold == fold, half(evidence.public, 1 - fold)
        parts.append((own, _rows(as_evidence(evidence, shadow, own, public), public, base.held_out[own])))
    trees, predicted = [], np.empty(shadow.counts.shape)
    for own, rows in parts:
        flat = rows.reshape(-1, rows.shape[-1])
        tree = HistGradientBoostingRegressor(categorical_features=[flat.shape[1] - 1], **TREES)
        trees.append(tree.fit(flat, shadow.counts[own].ravel() / samples))
    for tree, (own, rows) in zip(reversed(trees), parts, strict=True):
        predicted[own] = _predict(tree, rows, samples)
    plain = simplex(base.held_out, samples)
    corrects, corrected = correction.fit(predicted, shadow.counts, shadow.fold, EVEN_BINS)
    use_trees = np.minimum(corrected, shadow.counts).sum() > np.minimum(plain, shadow.counts).sum()
    held_out = corrected if use_trees else plain
    bins, edges = correction.bins_of(held_out, EVEN_BINS), _edges(held_out.ravel(), COUNT_BINS)
    quantiles = [
        _residual_quantiles(held_out[own], shadow.counts[own], bins.of(held_out[own]), edges)
        for own, _ in parts
    ]
    return Fitted(
        shadow, held_out, base, tuple(trees) if use_trees else None, corrects, bins, edges, _wider(*quantiles)
    )


def _rows(evidence: Evidence, public: Public, base: np.ndarray) -> np.ndarray:
    identity = solve_confusion(confusion(evidence), evidence.grad_bias, evidence.samples)
    return summaries(evidence, public, [base, identity, rank1.weighted(evidence)])


def _predict(tree: Any, rows: np.ndarray, samples: int) -> np.ndarray:
    shares = tree.predict(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:2])
    return simplex(samples * shares, samples)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))


def _residual_quantiles(
    predicted: np.ndarray, counts: np.ndarray, even: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Split-conformal quantiles of true − predicted, in strata of evenness and predicted count (Vovk
    2003).
    """
    residual, count = counts - predicted, np.searchsorted(edges, predicted)
    found = np.empty((len(LEVELS), 2, EVEN_BINS, COUNT_BINS + 1))
    for b in range(EVEN_BINS):
        for k in range(COUNT_BINS + 1):
            own = residual[(even[:, None] == b) & (count == k)]
            found[:, :, b, k] = _two_sided(own if len(own) >= LEAST else residual.ravel())
    return found


def _wider(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The wider of two sets of quantiles (L, 2, …), so that they hold in either half of the public images.

    All shadow clients of a half share its images. What these images have in common is a bias in the residuals
    of that half, and no spread; the other half's residuals show it.
    """
    return np.stack([np.minimum(one[:, 0], other[:, 0]), np.maximum(one[:, 1], other[:, 1])], axis=1)


def _two_sided(residual: np.ndarray) -> np.ndarray:
    """(L, 2): order statistics with half of 1 − level beyond each, with the finite-sample correction."""
    ordered, size = np.sort(residual), len(residual)
    tails = (1 - np.array(LEVELS)) / 2
    low = np.floor(tails * (size + 1)).astype(int) - 1
    high = np.ceil((1 - tails) * (size + 1)).astype(int) - 1
    return np.stack([ordered[np.clip(low, 0, size - 1)], ordered[np.clip(high, 0, size - 1)]], axis=1)


def estimate(evidence: Evidence) -> Estimate:
    """E[n | summaries of the update] under the simulated clients, projected onto counts that sum to N.

    Assumes that the shadow clients train as the client does, and that public and private images of a class
    are alike.
    """
    return estimate_with(fit(evidence), evidence)


def estimate_with(fitted: Fitted, evidence: Evidence) -> Estimate:
    """The estimate of the draws, with intervals and the mean IRec of shadow clients that look as even as each
    draw.
    """
    predicted = fitted.predict(evidence)
    low, high = fitted.intervals(predicted)
    recovered = np.minimum(fitted.held_out, fitted.shadow.counts).sum(axis=1) / evidence.samples
    which = fitted.bins.of(fitted.held_out)
    means = np.array(
        [recovered[which == b].mean() if (which == b).any() else recovered.mean() for b in range(EVEN_BINS)]
    )
    return counted(
        predicted, evidence.samples, low=low, high=high, expected_irec=means[fitted.bins.of(predicted)]
    )
