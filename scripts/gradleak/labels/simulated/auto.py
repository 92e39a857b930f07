"""Choose the method by simulation: which one recovers most from virtual clients that look like this one. Ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted
from gradleak.labels.simulated import posterior
from gradleak.labels.simulated.virtual import as_evidence, half

TRIED = 200  # virtual rounds of each half that the candidates are tried on


def estimate(evidence: Evidence, candidates: dict[str, Callable[[Evidence], Estimate]]) -> Estimate:
    """Each draw by the candidate with the highest IRec on virtual rounds of its evenness; the posterior's intervals.

    candidates: name → a method that gives counts and can read this update. The simulated posterior and the linear
    estimate, which learn from the same rounds, are tried by what they said of the half that they did not learn from.
    """
    fitted = posterior.fit(evidence)
    spoken = posterior.spoken(fitted, evidence)
    tried = np.concatenate([np.flatnonzero(fitted.rounds.fold == fold)[:TRIED] for fold in (0, 1)])
    truth = fitted.rounds.counts[tried]
    found = {
        "posterior": counted(fitted.held_out[tried], evidence.samples).counts,
        "linear": counted(fitted.linear.held_out[tried], evidence.samples).counts,
    }
    for name, method in candidates.items():
        try:
            found[name] = np.concatenate(
                [
                    method(
                        as_evidence(
                            evidence, fitted.rounds, own, half(evidence.public, 1 - fold, fitted.rounds)
                        )
                    ).counts
                    for fold in (0, 1)
                    for own in [tried[fitted.rounds.fold[tried] == fold]]
                ]
            )
        except NotApplicable:
            continue
    recovered = {
        name: np.minimum(counts, truth).sum(axis=1) / evidence.samples for name, counts in found.items()
    }
    which, own = fitted.bins.of(fitted.held_out[tried]), fitted.bins.of(fitted.predict(evidence))
    raw, chosen = spoken.raw.copy(), np.full(evidence.draws, "posterior", dtype=object)
    expected = spoken.expected_irec.copy()
    for b in np.unique(own):
        here = which == b if (which == b).any() else np.ones(len(which), bool)
        scores = {name: values[here].mean() for name, values in recovered.items()}
        best = max(scores, key=scores.get)
        expected[own == b] = scores[best]
        if best != "posterior":
            found_raw = (
                fitted.linear.predict(evidence) if best == "linear" else candidates[best](evidence).raw
            )
            raw[own == b], chosen[own == b] = found_raw[own == b], best
    return counted(
        raw, evidence.samples, low=spoken.low, high=spoken.high, expected_irec=expected, chosen=tuple(chosen)
    )
