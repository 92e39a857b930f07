"""What the gradient of the dummies is matched to: the leak, or the control."""

from dataclasses import replace

import numpy as np
from small_problems import assert_rows

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.targets import targets

RANDOM = DlgOptions(control="random_gradient")


def test_without_a_control_the_leak_is_the_target(problem_of):
    problem = problem_of([0])
    assert targets(problem, DlgOptions()) is problem.gradients


def test_the_random_gradient_has_the_norms_of_the_leak_and_nothing_else(problem_of):
    problem = problem_of([0, 1])
    for noise, leaked in zip(targets(problem, RANDOM), problem.gradients, strict=True):
        flat, true = noise.reshape(2, -1), leaked.reshape(2, -1)
        np.testing.assert_allclose(np.linalg.norm(flat, axis=1), np.linalg.norm(true, axis=1), rtol=1e-5)
        cosine = (flat * true).sum(axis=1) / np.square(np.linalg.norm(true, axis=1))
        assert (np.abs(cosine) < 0.99).all()
        assert noise.dtype == leaked.dtype


def test_the_random_gradient_is_the_same_alone_in_a_block_and_repeated(problem_of):
    block = targets(problem_of([3, 4]), RANDOM)
    alone = targets(problem_of([4]), RANDOM)
    copies = targets(problem_of([3, 4]).repeat(2), RANDOM)
    for a, b, c in zip(block, alone, copies, strict=True):
        assert_rows(a, 1, b)
        np.testing.assert_array_equal(c, a[[0, 0, 1, 1]])


def test_tensors_of_equal_shape_get_noise_of_their_own(problem_of):
    problem = problem_of([0])
    twice = replace(problem, gradients=[problem.gradients[0], problem.gradients[0]])
    one, other = targets(twice, RANDOM)
    assert not np.array_equal(one, other)


def test_a_zero_leak_gives_zero_noise(problem_of):
    problem = problem_of([0])
    zeros = replace(problem, gradients=[np.zeros_like(g) for g in problem.gradients])
    assert all((noise == 0).all() for noise in targets(zeros, RANDOM))
