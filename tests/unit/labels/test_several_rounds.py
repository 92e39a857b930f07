"""Class counts from several updates."""

import numpy as np
from last_layers import CLASSES

from gradleak.labels import several_rounds


def test_rounds_of_one_client_are_weighed_by_inverse_variance():
    raws = np.array([[[2.0, 6.0]], [[8.0, 0.0]]])
    np.testing.assert_array_equal(several_rounds.combine(raws, np.array([1e-3, 1.0]), 8).counts, [[2, 6]])
    np.testing.assert_allclose(several_rounds.combine(raws, np.ones(2), 8).raw, [[5, 3]])


def test_varying_participation_tells_clients_apart(rng):
    truth = rng.multinomial(16, rng.dirichlet(np.full(CLASSES, 0.3), 4))
    participation = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]])
    totals = participation @ truth + 0.1 * rng.normal(size=(5, CLASSES))
    found = several_rounds.unmix(totals, participation, np.full(4, 16))
    assert found.rank == 4
    assert found.known.all()
    np.testing.assert_array_equal(found.counts, truth)


def test_clients_that_always_come_together_are_not_told_apart(rng):
    truth = rng.multinomial(16, rng.dirichlet(np.full(CLASSES, 0.3), 3))
    participation = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]])
    found = several_rounds.unmix(participation @ truth, participation, np.full(3, 16))
    assert found.rank == 2
    assert found.known.tolist() == [False, False, True]
    assert "rank 2" in found.reasons[0]
    np.testing.assert_array_equal(found.counts[2], truth[2])
    np.testing.assert_array_equal(found.counts.sum(axis=1), [16, 16, 16])
