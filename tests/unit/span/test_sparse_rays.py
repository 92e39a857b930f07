"""Sparse rays of the cone: members are found, noise is not, and the programs are solved as brute force solves
them."""

from itertools import combinations

import numpy as np
import pytest
from span_updates import sparse_members

from gradleak.attacks.span import sparse_rays, subspace


def test_the_rays_of_the_cone_are_the_members(rng):
    features, matrix = sparse_members(rng)
    found = sparse_rays.rays(subspace.of_matrix(matrix, 1e-9), 40, np.random.default_rng(0))
    cosines = found @ (features / np.linalg.norm(features, axis=1, keepdims=True)).T
    assert len(found) == 6
    assert sorted(cosines.argmax(axis=1)) == list(range(6))
    assert cosines.max(axis=1).min() > 1 - 1e-8


def test_rays_bear_noise_and_inputs_that_no_member_has(rng):
    features, matrix = sparse_members(rng)
    dead = np.concatenate([np.zeros((100, 20)), matrix])
    noisy = dead + 1e-6 * rng.normal(size=dead.shape)
    noise = 1e-6 * (np.sqrt(300) + np.sqrt(20))
    found = sparse_rays.rays(subspace.of_matrix(noisy, noise), 40, np.random.default_rng(0))
    padded = np.pad(features, ((0, 0), (100, 0)))
    cosines = found @ (padded / np.linalg.norm(padded, axis=1, keepdims=True)).T
    assert (cosines.max(axis=0) > 1 - 1e-5).all()


def test_a_ray_is_a_solution_of_the_linear_program(rng):
    """Against scipy's own solver, on a cone of dense vectors."""
    from scipy.optimize import linprog

    rows = rng.uniform(0, 1, size=(30, 4))
    fixed = rows[0] / np.linalg.norm(rows[0])
    program = sparse_rays._Program(rows)
    program.fix(fixed)
    got = program.minimum(rows.sum(axis=0), 0.0)
    expected = linprog(
        rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(30), A_eq=fixed[None], b_eq=[1], bounds=(None, None)
    ).x
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-7)


def vertices(rows, fixed, slack):
    """All vertices of {a: rows·a ≥ −slack, fixed·a = 1}, by brute force over which of the rows are active."""
    size = rows.shape[1]
    for active in combinations(range(len(rows)), size - 1):
        system = np.concatenate([rows[list(active)], fixed[None]])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        vertex = np.linalg.solve(system, np.append(np.full(size - 1, -slack), 1.0))
        if (rows @ vertex >= -slack - 1e-9).all():
            yield vertex


@pytest.mark.parametrize("slack", [0.0, 0.05])
def test_a_program_finds_the_best_vertex(rng, slack):
    rows = np.maximum(rng.normal(0.3, 1, size=(16, 3)), 0)
    rows = rows[rows.any(axis=1)]
    program = sparse_rays._Program(rows)
    for index in range(3):
        fixed = rows[index] / np.linalg.norm(rows[index])
        program.fix(fixed)  # warm from the last solution
        cost = rows.sum(axis=0)
        best = min(vertices(rows, fixed, slack), key=lambda vertex: cost @ vertex)
        np.testing.assert_allclose(program.minimum(cost, slack), best / np.linalg.norm(best), atol=1e-7)


def test_a_program_without_a_feasible_point_has_no_solution():
    rows = np.eye(2)
    program = sparse_rays._Program(rows)
    program.fix(-np.ones(2))  # −a₁ − a₂ = 1 with a ≥ 0
    assert program.minimum(np.ones(2), 0.0) is None
    program.fix(np.ones(2))
    assert program.minimum(np.array([1.0, 2.0]), 0.0) == pytest.approx([1.0, 0.0])


def test_an_unbounded_program_has_no_solution():
    program = sparse_rays._Program(np.eye(2))
    program.fix(np.array([1.0, 0.0]))
    assert program.minimum(np.array([1.0, -1.0]), 0.0) is None


def test_reweighting_prefers_entries_that_are_nearly_zero():
    rows = np.eye(3)
    cost = sparse_rays._reweighted(rows, np.array([1.0, 0.1, -0.2]))
    np.testing.assert_allclose(cost, 1 / np.array([1.01, 0.11, 0.01]))


def test_of_similar_rays_the_sparsest_is_left():
    sparse, dense = np.array([1.0, 0, 0]), np.array([0.6, 0.6, 0.53])
    nearly = np.array([0.9999, 0.01, 0.01])
    rays = np.array([v / np.linalg.norm(v) for v in (nearly, dense, sparse)])
    np.testing.assert_allclose(sparse_rays.distinct(rays), [sparse, dense / np.linalg.norm(dense)])


def test_a_span_of_nothing_but_noise_has_no_rays(rng):
    matrix = 1e-6 * rng.normal(size=(200, 20))
    span = subspace.of_matrix(matrix, 1e-6 * (np.sqrt(200) + np.sqrt(20)))
    assert len(sparse_rays.rays(span, 20, rng)) == 0


def test_similar_features_are_further_starts_of_rays(rng):
    features, matrix = sparse_members(rng)
    span = subspace.of_matrix(matrix, 1e-9)
    starts = sparse_rays._starts(span.left[:, :6], span.left[:, :6], 4, rng, features)
    assert len(starts) == 4
    for fixed, _ in starts:
        assert np.linalg.norm(fixed) == pytest.approx(1)
    found = sparse_rays.rays(span, 12, np.random.default_rng(0), features)
    cosines = found @ (features / np.linalg.norm(features, axis=1, keepdims=True)).T
    assert (cosines.max(axis=0) > 1 - 1e-8).all()
