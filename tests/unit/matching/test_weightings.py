"""Layer weightings: rows sum to the number of tensors, and say what their names promise."""

import numpy as np
import pytest

from gradleak.attacks.matching.weightings import WEIGHTINGS, weights

LAYER = np.array([0, 0, 1, 1, 2, 2])
NORMS = np.array([[4.0, 1.0, 2.0, 0.5, 8.0, 0.25], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize(
    "norms", [NORMS, NORMS * 1e-6, np.zeros((2, 6)), np.eye(6)[:2]], ids=["plain", "small", "zero", "sparse"]
)
def test_rows_are_finite_and_sum_to_the_number_of_tensors(name, norms):
    found = weights(name, LAYER, norms)
    assert found.dtype == np.float32
    assert found.shape == norms.shape
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 6, rtol=1e-6)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_trials_row_does_not_depend_on_the_others(name):
    np.testing.assert_array_equal(weights(name, LAYER, NORMS)[:1], weights(name, LAYER, NORMS[:1]))


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_size_of_the_gradient_does_not_matter(name):
    np.testing.assert_allclose(weights(name, LAYER, NORMS), weights(name, LAYER, NORMS * 100), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uniform", [1, 1, 1, 1, 1, 1]),
        ("depth", [1.5, 1.5, 1, 1, 0.5, 0.5]),
        ("depth_exponential", [12 / 7, 12 / 7, 6 / 7, 6 / 7, 3 / 7, 3 / 7]),
        ("last", [0, 0, 0, 0, 3, 3]),
        ("top_norms", [2, 0, 2, 0, 2, 0]),
        ("norm", 6 * (1 / NORMS[0]) / (1 / NORMS[0]).sum()),
    ],
)
def test_weights_of_a_known_net(name, expected):
    np.testing.assert_allclose(weights(name, LAYER, NORMS)[0], expected, rtol=1e-6)


def test_inverse_norms_level_the_tensors():
    found = weights("norm", LAYER, NORMS)[0] * NORMS[0]
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
