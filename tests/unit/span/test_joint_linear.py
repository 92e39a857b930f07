"""The least squares of one Gauss–Newton step, against differences and by their adjoint."""

import dataclasses

import numpy as np
import pytest

from gradleak.attacks.span import joint_linear


def near(batch, count, error, rng):
    """The first members with errors in the pixels that are not black."""
    x = batch.x[:count]
    return np.clip(x + error * rng.normal(size=x.shape) * (x > 0), 0, 1)


def test_the_system_is_the_derivative_of_the_remainder_beyond_its_free_directions(batch, joint, rng):
    fitted = joint.start(near(batch, 6, 0.01, rng), batch.y[:6], np.full(6, 1e-4))
    system = joint_linear.linearise(joint, fitted, np.ones(fitted.images.shape, bool))
    start = system.pixels.values
    change = 1e-6 * rng.uniform(0, 1, start.shape) * (start < 0.5)
    moved = dataclasses.replace(fitted, images=system.pixels.moved(fitted.images, change))
    terms = [(joint.span.matrix - joint.remainder(images)) @ joint.rows for images in (moved, fitted)]
    difference = (terms[0] - terms[1])[system.inputs]
    expected = joint_linear.without_free(difference, system.left, system.right) / joint.span.deviation
    got = system.change(joint_linear.times(system.jacobian, change))
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_the_system_and_its_adjoint_agree(batch, joint, rng):
    fitted = joint.start(near(batch, 6, 0.01, rng), batch.y[:6], np.full(6, 1e-4))
    system = joint_linear.linearise(joint, fitted, np.ones(fitted.images.shape, bool))
    moves, matrix = rng.normal(size=system.features.shape), rng.normal(size=system.target.shape)
    there, back = (system.change(moves) * matrix).sum(), (moves * system.adjoint(matrix)).sum()
    assert there == pytest.approx(back, rel=1e-9)


def test_a_step_leaves_pixels_within_their_range_and_others_alone(batch, joint, rng):
    fitted = joint.start(near(batch, 6, 0.05, rng), batch.y[:6], np.full(6, 1e-3))
    lit = fitted.images > 0
    system = joint_linear.linearise(joint, fitted, lit)
    moved = system.pixels.moved(fitted.images, joint_linear.solution(system, np.full(6, 0.05)))
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved[~lit] == 0).all()
    assert (moved != fitted.images).any()
