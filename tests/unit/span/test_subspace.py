"""The column space of M with noise, ρ, and the projection of members out of M."""

import numpy as np
import pytest

from gradleak.attacks.span import subspace


def mean_of_outer(rng, members=5, inputs=40, outputs=20):
    features, deltas = rng.normal(size=(members, inputs)), rng.normal(size=(members, outputs))
    return features, deltas, features.T @ deltas / members


def test_members_are_in_the_span_and_others_are_not(rng):
    features, _, matrix = mean_of_outer(rng)
    span = subspace.of_matrix(matrix, 1e-9)
    assert span.rank == 5
    assert span.residual(features).max() < 1e-12
    assert span.residual(rng.normal(size=(50, 40))).min() > 0.1


def test_members_have_the_weight_n(rng):
    features, deltas, matrix = mean_of_outer(rng)
    weight, uncertainty = subspace.of_matrix(matrix, 1e-9).weigh(features, deltas)
    np.testing.assert_allclose(weight, 5, rtol=1e-6)
    assert uncertainty.max() < 1e-4


def test_rho_is_the_least_of_misfit_and_noise(rng):
    _, _, matrix = mean_of_outer(rng)
    span, vector = subspace.of_matrix(matrix, 0.3), rng.normal(size=40)
    a = span.coefficients(vector[None])[0]

    def charged(a):
        return np.sum((vector - matrix @ a) ** 2) + 0.3**2 * np.sum(a**2)

    assert all(charged(a) <= charged(a + 1e-3 * rng.normal(size=20)) for _ in range(20))
    assert span.residual(vector[None])[0] * np.sum(vector**2) == pytest.approx(
        np.sum((vector - span.left * span.gain @ span.left.T @ vector) ** 2)
    )


def test_a_member_projected_out_lowers_the_rank_by_one_and_leaves_the_others(rng):
    features, deltas, matrix = mean_of_outer(rng)
    left = subspace.of_matrix(subspace.project_out(matrix, deltas[:2]), 1e-9)
    assert left.rank == 3
    assert left.residual(features[2:]).max() < 1e-12
    assert left.residual(features[:2]).min() > 1e-3


def test_a_delta_of_zero_is_projected_out_of_nothing(rng):
    matrix, delta = rng.normal(size=(12, 4)), rng.normal(size=(1, 4))
    zero = np.zeros((1, 4))
    np.testing.assert_array_equal(subspace.project_out(matrix, zero), matrix)
    alone = subspace.project_out(matrix, delta)
    np.testing.assert_array_equal(subspace.project_out(matrix, np.concatenate([zero, delta])), alone)


def test_avoided_directions_do_not_count_in_rho(rng):
    features, _, matrix = mean_of_outer(rng)
    span = subspace.of_matrix(matrix, 1e-9)
    copy = features[:1] + 1e-3 * rng.normal(size=(1, 40))
    assert span.residual(copy)[0] < 1e-4
    assert span.residual(copy, subspace.orthonormal_basis(features[:1]))[0] > 0.1
    assert span.residual(features[1:2], subspace.orthonormal_basis(features[:1]))[0] < 1e-12
