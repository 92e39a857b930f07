"""Bootstrap intervals: over draws, of means and of differences."""

import numpy as np
import pytest

from gradleak.evaluation import bootstrap


def test_bootstrap_averages_draws_and_not_seeds():
    values, groups = [0.0, 0.0, 0.0, 1.0], [0, 0, 0, 1]
    mean, low, high = bootstrap.mean(values, groups)
    assert mean == 0.5
    assert (low, high) == (0, 1)


def test_bootstrap_interval_is_near_the_normal_one(rng):
    values = rng.normal(10, 2, 100)
    mean, low, high = bootstrap.mean(values, np.arange(100))
    half = 1.96 * values.std() / 10
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - half, abs=0.1 * half)
    assert high == pytest.approx(mean + half, abs=0.1 * half)


def test_bootstrap_of_one_draw_has_no_interval():
    mean, low, high = bootstrap.mean([1.0, 3.0], [5, 5])
    assert mean == 2
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_bootstrap_of_nothing_is_nan(values):
    assert np.isnan(bootstrap.mean(values, range(len(values)))).all()


def test_bootstrap_leaves_out_what_is_missing_and_repeats_itself():
    values, groups = [1.0, np.nan, 2.0, np.inf, 4.0], [0, 1, 1, 2, 3]
    assert bootstrap.mean(values, groups) == bootstrap.mean([1.0, 2.0, 4.0], [0, 1, 3])


def test_a_difference_of_independent_samples_is_near_the_normal_one(rng):
    base, other = rng.normal(10, 2, 100), rng.normal(13, 2, 80)
    mean, low, high = bootstrap.difference(base, other)
    half = 1.96 * np.hypot(base.std() / 10, other.std() / np.sqrt(80))
    assert mean == pytest.approx(other.mean() - base.mean())
    assert (low, high) == (
        pytest.approx(mean - half, abs=0.15 * half),
        pytest.approx(mean + half, abs=0.15 * half),
    )


def test_a_difference_from_a_single_value_has_no_interval():
    mean, low, high = bootstrap.difference(np.array([2.0]), np.array([1.0, 4.0]))
    assert mean == 0.5
    assert np.isnan([low, high]).all()
