"""A second layer of trees that corrects predicted counts.

Trees are surer of the images that they learnt from than of others. So the second layer learns from the
predictions for the other half's shadow clients: how far a count can be trusted, given all counts of its
client. Counts are scored by IRec, whose best prediction is a median and not a mean; the two differ where few
classes are undecided. Both are learnt, and for each bin of evenness the one that recovers more is taken, or
their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.labels.evidence import counted, simplex

TREES = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "min_samples_leaf": 100,
    "max_features": 0.4,
    "random_state": 0,
    "early_stopping": False,
}
LOSSES = ("squared_error", "absolute_error")
PLACES = 7  # of a client's ordered counts


@dataclass(frozen=True)
class Bins:
    """Quantile bins of how uneven a client's counts are, Σ (n̂/N)²."""

    edges: np.ndarray

    def of(self, counts: np.ndarray) -> np.ndarray:
        """(D, C) → int (D,)."""
        return np.searchsorted(self.edges, _unevenness(counts))


def bins_of(counts: np.ndarray, number: int) -> Bins:
    return Bins(np.unique(np.quantile(_unevenness(counts), np.linspace(0, 1, number + 1)[1:-1])))


def _unevenness(counts: np.ndarray) -> np.ndarray:
    return ((counts / counts.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Correction:
    """trees: of each loss, one of each half. chosen: for each bin, which of ``_variants`` is taken."""

    trees: tuple[tuple[Any, Any], ...]
    bins: Bins
    chosen: np.ndarray

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """(D, C) → (D, C), on the simplex."""
        each = [np.mean([_corrected(tree, predicted) for tree in pair], axis=0) for pair in self.trees]
        return _take(_variants(each), self.bins, self.chosen)


def fit(
    predicted: np.ndarray, counts: np.ndarray, fold: np.ndarray, bins: int
) -> tuple[Correction, np.ndarray]:
    """The correction, and ``predicted`` (S, C) as corrected by the trees of the other half.

    predicted: of each shadow client, by trees of the other half. counts: true (S, C). fold: int (S,).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow, and the workflow imports this

    rows, shares = _rows(predicted), counts / counts.sum(axis=1, keepdims=True)
    trees, each = [], []
    for loss in LOSSES:
        learners = [HistGradientBoostingRegressor(loss=loss, **TREES) for _ in (0, 1)]
        pair = tuple(
            tree.fit(rows[fold == half].reshape(-1, rows.shape[-1]), shares[fold == half].ravel())
            for half, tree in enumerate(learners)
        )
        trees.append(pair)
        other = np.empty(counts.shape)
        for half, tree in enumerate(pair):
            other[fold != half] = _corrected(tree, predicted[fold != half])
        each.append(other)
    variants = _variants(each)
    found = bins_of(variants[-1], bins)
    which = found.of(variants[-1])
    chosen = np.full(bins, len(variants) - 1)
    recovered = [
        np.minimum(counted(variant, counts.sum(axis=1)).counts, counts).sum(axis=1) for variant in variants
    ]
    for b in np.unique(which):
        chosen[b] = int(np.argmax([r[which == b].sum() for r in recovered]))
    return Correction(tuple(trees), found, chosen), _take(variants, found, chosen)


def _variants(each: list[np.ndarray]) -> list[np.ndarray]:
    """The prediction of each loss, and their mean."""
    return [*each, np.mean(each, axis=0)]


def _take(variants: list[np.ndarray], bins: Bins, chosen: np.ndarray) -> np.ndarray:
    which = chosen[bins.of(variants[-1])]
    return np.stack(variants)[which, np.arange(len(which))]


def _rows(predicted: np.ndarray) -> np.ndarray:
    """(D, C, F): a class's share and its rank, how uneven the client's shares are, and the shares in
    order.
    """
    shares = predicted / predicted.sum(axis=1, keepdims=True)
    ordered = np.sort(shares, axis=1)
    places = np.unique(np.linspace(0, shares.shape[1] - 1, PLACES).round().astype(int))
    everywhere = [_unevenness(predicted)[:, None], *(ordered[:, [place]] for place in places)]
    columns = [
        shares,
        shares.argsort(axis=1).argsort(axis=1),
        *(np.broadcast_to(v, shares.shape) for v in everywhere),
    ]
    return np.stack(columns, axis=-1).astype(np.float32)


def _corrected(tree: Any, predicted: np.ndarray) -> np.ndarray:
    rows = _rows(predicted)
    samples = predicted.sum(axis=1).round()
    shares = tree.predict(rows.reshape(-1, rows.shape[-1])).reshape(predicted.shape)
    return simplex(samples[:, None] * shares, samples)
