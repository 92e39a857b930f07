"""The expected error of an image against the errors of a linear model, by simulation."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradleak.attacks.span import subspace, thresholds
from gradleak.attacks.span.posterior_error import expected_error

SIDE, INPUTS = 3, 20
INSIDE = np.ones((SIDE, SIDE, 1), bool)


@pytest.fixture
def linear(rng):
    """A layer whose features are linear in the pixels, a span of four, and an image in the middle of the
    range."""
    mixing = rng.normal(size=(SIDE**2, INPUTS))
    layer = SimpleNamespace(
        dtype="float64",
        features=lambda images: SimpleNamespace(numpy=lambda: images.reshape(-1, SIDE**2) @ mixing),
    )
    span = subspace.of_matrix(rng.normal(size=(INPUTS, 4)) @ rng.normal(size=(4, 6)), 1e-6)
    return SimpleNamespace(
        mixing=mixing, layer=layer, span=span, image=rng.uniform(0.3, 0.7, (SIDE, SIDE, 1))
    )


@pytest.mark.parametrize("residual", [1e-8, 1e-3, 0.3])
def test_the_error_expected_is_that_of_the_best_estimate(linear, rng, residual):
    """Pixels are drawn, their feature outside the span is observed with noise, and the pixels are estimated
    from it."""
    outside = np.eye(INPUTS) - linear.span.left[:, :4] @ linear.span.left[:, :4].T
    across, spread = outside @ linear.mixing.T, thresholds.PIXEL_SPREAD
    feature = linear.image.reshape(-1) @ linear.mixing
    noise = np.sqrt(residual / (INPUTS - 4)) * np.linalg.norm(feature)
    drawn = spread * rng.normal(size=(20000, SIDE**2))
    observed = drawn @ across.T + noise * rng.normal(size=(20000, INPUTS))
    gain = spread**2 * across.T @ np.linalg.inv(spread**2 * across @ across.T + noise**2 * np.eye(INPUTS))
    error = np.square(observed @ gain.T - drawn).mean()
    assert expected_error(linear.layer, linear.span, INSIDE, linear.image, residual) == pytest.approx(
        error, rel=0.05
    )


def test_pixels_at_a_bound_or_outside_the_receptive_field_count_as_right(linear):
    def total(inside, image):
        return inside.sum() * expected_error(linear.layer, linear.span, inside, image, 0.01)

    some, image = INSIDE.copy(), linear.image.copy()
    some[1, 1], image[0], image[2, 0] = False, 0, 1
    free = total(INSIDE, linear.image), total(some, linear.image), total(some, image)
    assert free[0] > free[1] > free[2] > 0
    assert total(INSIDE, np.zeros_like(image)) == 0
