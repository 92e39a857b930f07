"""The projection onto counts, and the softmax."""

import itertools

import numpy as np
import pytest
from last_layers import COUNTS

from gradleak.labels.evidence import (
    project,
    simplex,
    softmax,
)


def all_counts(classes, samples):
    return np.array([c for c in itertools.product(range(samples + 1), repeat=classes) if sum(c) == samples])


@pytest.mark.parametrize("samples", [1, 4, 7])
@pytest.mark.parametrize("spread", [0.3, 2.0, 20.0])
def test_the_projection_is_the_nearest_count_vector(samples, spread, rng):
    candidates = all_counts(4, samples)
    for _ in range(50):
        raw = rng.normal(samples / 4, spread, 4)
        found = project(raw, samples)
        assert found.sum() == samples
        assert found.min() >= 0
        distances = np.square(candidates - raw).sum(axis=1)
        assert np.square(found - raw).sum() == pytest.approx(distances.min(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_project_onto_themselves(counts):
    np.testing.assert_array_equal(project(np.array(counts, float), sum(counts)), counts)
    np.testing.assert_array_equal(project(np.array(counts) + 1e-12, sum(counts)), counts)
    np.testing.assert_array_equal(project(np.array(counts) - 1e-12, sum(counts)), counts)


@pytest.mark.parametrize(
    "raw",
    [
        [np.nan] * 4,
        [np.inf, 0, 0, 0],
        [-np.inf, 0, 1, 0],
        [-np.inf] * 4,
        [1e30, 0, 0, 0],
        [1e300, -1e300, np.nan, np.inf],
        [-1e30, -2e30, -3e30, -4e30],
        [0, 0, 0, 0],
    ],
)
def test_the_projection_survives_anything(raw):
    found = project(np.array(raw), 5)
    assert found.sum() == 5
    assert found.min() >= 0


def test_a_class_that_outweighs_all_takes_all():
    np.testing.assert_array_equal(project(np.array([0.0, 1e30, 5.0]), 5), [0, 5, 0])


def test_the_simplex_projection_is_the_projection_row_by_row(rng):
    raw = rng.normal(2, 5, (40, 6))
    found = simplex(raw, 12)
    np.testing.assert_allclose(found.sum(axis=1), 12)
    assert found.min() >= 0
    # Optimality: what is kept was shifted by one amount, and what is cut lies below it.
    for before, after in zip(raw, found, strict=True):
        shift = (before - after)[after > 0]
        np.testing.assert_allclose(shift, shift[0])
        assert (before[after == 0] <= shift[0] + 1e-9).all()


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])
