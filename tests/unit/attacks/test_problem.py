"""The trials of a block: their random streams and their copies."""

from functools import partial

import numpy as np
import pytest
from small_problems import block_of, dense_net


@pytest.fixture(scope="module")
def problem_of():
    return partial(block_of, dense_net())


def test_streams_of_different_purposes_differ(problem_of):
    problem = problem_of([0])
    assert problem.rng(0, "a").normal() != problem.rng(0, "b").normal()
    assert problem.rng(0, "a").normal() == problem_of([1]).rng(0, "a").normal()


def test_repeating_keeps_neighbours_together(problem_of):
    problem = problem_of([3, 4])
    copies = problem.repeat(3)
    assert copies.seeds == [3, 3, 3, 4, 4, 4]
    for one, other in zip(copies.gradients, problem.gradients, strict=True):
        np.testing.assert_array_equal(one, other[[0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(copies.counts, problem.counts[[0, 0, 0, 1, 1, 1]])
    assert problem.repeat(1) is problem
    assert problem_of([3], counts=None).repeat(2).counts is None
