"""The FedAvg fixed point."""

from dataclasses import replace

import numpy as np
from last_layers import CLASSES, COUNTS, WIDTH, leaked

from gradleak.labels.evidence import (
    Client,
    ShadowClients,
    softmax,
)
from gradleak.labels.registry import recover


def test_the_fixed_point_follows_the_drift_of_the_mean_softmax(rng):
    """Shadow clients whose p̄ moves with the class shares: a fixed p̄ is wrong, the fixed point is right."""
    counts = rng.multinomial(20, rng.dirichlet(np.full(CLASSES, 0.5), 400))
    drift = softmax(3 * counts / 20)
    evidence = replace(
        leaked(COUNTS["few"], rng),
        samples=20,
        client=Client(steps=10),
        grad_weight=np.zeros((50, WIDTH, CLASSES)),
        grad_bias=(drift - counts / 20)[:50],
    )
    shadow = ShadowClients(
        counts[50:], np.zeros((350, WIDTH, CLASSES)), (drift - counts / 20)[50:], np.arange(350) % 2
    )
    found = recover("fixed_point", replace(evidence, public=replace(evidence.public, shadow_clients=shadow)))
    assert np.minimum(found.counts, counts[:50]).sum() / 1000 > 0.96
    plain = recover("aux_mean", evidence)
    assert np.minimum(plain.counts, counts[:50]).sum() < np.minimum(found.counts, counts[:50]).sum()
