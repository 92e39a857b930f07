"""What is made of predicted counts once it is known how predictions go wrong: a second layer of trees.

The first layer's trees are surer of the images that they learnt from than of others. So the second learns from what they say
of the other half's rounds: how far to trust a count, given all counts of its round. Counts are judged by IRec, whose best
answer is a median and not a mean; where few classes are left open that differs, so both are learnt, and which of them (or
their mean) recovers more is settled by how even a round looks.
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
PLACES = 7  # of a round's ordered counts


@dataclass(frozen=True)
class Bins:
    """Quantile bins of how uneven a round looks, Σ (n̂/N)²."""

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
    """trees: of each loss, learnt from either half. chosen: for each bin, which of _answers is taken."""

    trees: tuple[tuple[Any, Any], ...]
    bins: Bins
    chosen: np.ndarray

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """(D, C) → (D, C), on the simplex."""
        each = [np.mean([_corrected(tree, predicted) for tree in pair], axis=0) for pair in self.trees]
        return _take(_answers(each), self.bins, self.chosen)


def fit(
    predicted: np.ndarray, counts: np.ndarray, fold: np.ndarray, bins: int
) -> tuple[Correction, np.ndarray]:
    """The correction, and ``predicted`` (S, C) corrected by what was learnt from the other half.

    predicted: of each round by trees of the other half. counts: true (S, C). fold: int (S,).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

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
    answers = _answers(each)
    found = bins_of(answers[-1], bins)
    which = found.of(answers[-1])
    chosen = np.full(bins, len(answers) - 1)
    recovered = [np.minimum(counted(a, counts.sum(axis=1)).counts, counts).sum(axis=1) for a in answers]
    for b in np.unique(which):
        chosen[b] = int(np.argmax([r[which == b].sum() for r in recovered]))
    return Correction(tuple(trees), found, chosen), _take(answers, found, chosen)


def _answers(each: list[np.ndarray]) -> list[np.ndarray]:
    """Of each loss, and the mean of them."""
    return [*each, np.mean(each, axis=0)]


def _take(answers: list[np.ndarray], bins: Bins, chosen: np.ndarray) -> np.ndarray:
    which = chosen[bins.of(answers[-1])]
    return np.stack(answers)[which, np.arange(len(which))]


def _rows(predicted: np.ndarray) -> np.ndarray:
    """(D, C, F): a class's share and its rank, how uneven the round looks, and its shares in order."""
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
