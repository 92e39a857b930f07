"""The second layer of trees."""

import numpy as np
from last_layers import CLASSES

from gradleak.labels.evidence import simplex
from gradleak.labels.simulated import correction


def test_a_correction_learns_how_far_to_trust_a_count(rng):
    """Noisy predictions around an even guess are shrunk to it; exact ones stay."""
    even = rng.multinomial(100, np.full(CLASSES, 0.1), 600)
    uneven = rng.multinomial(100, rng.dirichlet(np.full(CLASSES, 0.2), 600))
    counts, fold = np.concatenate([even, uneven]), np.arange(1200) % 2
    noise = simplex(10 + rng.normal(0, 4, even.shape), 100)
    corrects, held_out = correction.fit(np.concatenate([noise, uneven]), counts, fold, 4)
    assert np.abs(held_out[:600] - 10).mean() < np.abs(noise - 10).mean() / 3
    assert np.abs(held_out[600:] - uneven).mean() < 0.7
    np.testing.assert_allclose(held_out.sum(axis=1), 100)
    again = corrects(simplex(10 + rng.normal(0, 4, (50, CLASSES)), 100))
    assert np.abs(again - 10).mean() < np.abs(noise - 10).mean() / 3
