"""Choose the method by simulation: the one that recovers most labels of shadow clients similar to the
draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted
from gradleak.labels.simulated import posterior
from gradleak.labels.simulated.shadow import as_evidence, half

TRIED = 200  # shadow clients of each half on which the candidates are compared
WITHOUT_PUBLIC = "rank1_weighted"  # the method of updates without public data

Candidates = dict[str, Callable[[Evidence], Estimate]]


def choosing_among(candidates: Callable[[Evidence], Candidates]) -> Callable[[Evidence], Estimate]:
    """A method that chooses for each draw among ``candidates(evidence)``."""

    def choose(evidence: Evidence) -> Estimate:
        able = candidates(evidence)
        if evidence.public is not None:
            return estimate(evidence, able)
        if WITHOUT_PUBLIC not in able:
            raise NotApplicable(f"auto needs public images to simulate the loss {evidence.loss.text}")
        return replace(able[WITHOUT_PUBLIC](evidence), chosen=(WITHOUT_PUBLIC,) * evidence.draws)

    return choose


def estimate(evidence: Evidence, candidates: Candidates) -> Estimate:
    """Each draw by the candidate with the highest IRec on shadow clients that are as uneven; the posterior's
    intervals.

    candidates: name → a method that gives counts and can read this update. The simulated posterior and the
    linear estimate, which learn from the same shadow clients, are compared by their predictions for the half
    that they did not learn from.
    """
    fitted = posterior.fit(evidence)
    own = posterior.estimate_with(fitted, evidence)
    tried = np.concatenate([np.flatnonzero(fitted.shadow.fold == fold)[:TRIED] for fold in (0, 1)])
    truth = fitted.shadow.counts[tried]
    recovered = {
        name: np.minimum(counts, truth).sum(axis=1) / evidence.samples
        for name, counts in _counts_of(evidence, candidates, fitted, tried).items()
    }
    bins, own_bins = fitted.bins.of(fitted.held_out[tried]), fitted.bins.of(fitted.predict(evidence))
    raw, chosen = own.raw.copy(), np.full(evidence.draws, "posterior", dtype=object)
    expected = own.expected_irec.copy()
    for b in np.unique(own_bins):
        here = bins == b if (bins == b).any() else np.ones(len(bins), bool)
        scores = {name: values[here].mean() for name, values in recovered.items()}
        best = max(scores, key=scores.get)
        draws = own_bins == b
        expected[draws] = scores[best]
        if best != "posterior":
            best_raw = fitted.linear.predict(evidence) if best == "linear" else candidates[best](evidence).raw
            raw[draws], chosen[draws] = best_raw[draws], best
    return counted(
        raw, evidence.samples, low=own.low, high=own.high, expected_irec=expected, chosen=tuple(chosen)
    )


def _counts_of(
    evidence: Evidence, candidates: Candidates, fitted: posterior.Fitted, tried: np.ndarray
) -> dict[str, np.ndarray]:
    """Name → counts (S, C) of the shadow clients ``tried`` (S,), each with the public data of the other
    half.
    """
    counts = {
        "posterior": counted(fitted.held_out[tried], evidence.samples).counts,
        "linear": counted(fitted.linear.held_out[tried], evidence.samples).counts,
    }
    halves = []
    for fold in (0, 1):
        own = tried[fitted.shadow.fold[tried] == fold]
        public = half(evidence.public, 1 - fold, fitted.shadow)
        halves.append(as_evidence(evidence, fitted.shadow, own, public))
    for name, method in candidates.items():
        try:
            counts[name] = np.concatenate([method(part).counts for part in halves])
        except NotApplicable:
            continue
    return counts
