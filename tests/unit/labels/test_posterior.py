"""The simulated posterior: its intervals, and that it learns once."""

from dataclasses import replace

import numpy as np
from last_layers import CLASSES, COUNTS, gradient, leaked

from gradleak.labels.evidence import (
    LEVELS,
)
from gradleak.labels.registry import recover
from gradleak.labels.simulated import compositions, posterior


def test_intervals_cover_and_nest(rng, few_shadow_clients):
    spread = rng.normal(0, 1, (CLASSES, CLASSES)) + 3 * np.eye(CLASSES)
    first = leaked([3, 3, 3, 3, 3, 3, 3, 3, 3, 3], rng, noise=0.5, spread=spread)
    counts = rng.multinomial(30, rng.dirichlet(np.full(CLASSES, 0.5), 60))
    batches = [
        gradient(first.public.features[index], first.public.labels[index], first.weight, first.bias)
        for index in compositions.draw_images(
            rng, counts, first.public.labels, np.arange(len(first.public.labels))
        )
    ]
    evidence = replace(
        first, grad_weight=np.stack([b[0] for b in batches]), grad_bias=np.stack([b[1] for b in batches])
    )
    estimate = recover("posterior", evidence)
    covered = ((estimate.low <= counts) & (counts <= estimate.high)).mean(axis=(1, 2))
    assert (covered > np.array(LEVELS) - 0.1).all()
    assert (np.diff(estimate.low, axis=0) <= 0).all()
    assert (np.diff(estimate.high, axis=0) >= 0).all()
    assert estimate.expected_irec.shape == (60,)


def test_the_regression_on_shadow_clients_is_learnt_once(rng, few_shadow_clients, monkeypatch):
    evidence, learn, asked = leaked(COUNTS["all"], rng, noise=0.1), posterior._learn, []
    monkeypatch.setattr(
        posterior, "_learn", lambda evidence: asked.append(evidence.samples) or learn(evidence)
    )
    first = recover("posterior", evidence)
    recover("auto", evidence)
    again = recover("posterior", replace(evidence, public=replace(evidence.public)))
    np.testing.assert_array_equal(first.raw, again.raw)
    recover("posterior", replace(evidence, samples=evidence.samples + 1))
    assert asked == [evidence.samples, evidence.samples, evidence.samples + 1]
