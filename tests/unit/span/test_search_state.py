"""Candidates and members as values: accepting, improving and joining them changes no earlier state."""

import numpy as np
import pytest
from test_membership import made

from gradleak.attacks.span import certificates
from gradleak.attacks.span.search_state import SearchState, no_candidates, result_of
from gradleak.attacks.span.weight_vote import Vote


@pytest.fixture
def candidates():
    """Five images: 0, 1, 2 unlike one another; 3 and 4 are better images of 0 and 1."""
    feature = np.eye(5)[[0, 1, 2, 0, 1]]
    judged = certificates.subset(made(5), slice(None))
    judged = type(judged)(
        **vars(judged) | {"feature": feature, "normalised_residual": np.array([4.0, 4.0, 1.0, 1.0, 3.0])}
    )
    return no_candidates((2, 2, 1), 5, 5).added(np.arange(20.0).reshape(5, 2, 2, 1), judged)


def test_an_exact_image_of_a_near_member_takes_its_place(candidates):
    near = candidates.with_members([0, 2])
    exact = near.with_exact_member(3)
    assert exact.members == (3, 2)
    assert exact.exact_members == [3]
    assert near.members == (0, 2)  # the earlier state is unchanged
    assert exact.with_exact_member(1).members == (3, 2, 1)


def test_only_clearly_better_images_replace_exact_members(candidates):
    exact = candidates.with_exact_member(0).with_exact_member(1)
    assert exact.improved([3, 4]).members == (3, 1)
    assert exact.improved([3, 4]).exact_members == [3, 1]


def test_members_of_another_set_are_joined_with_their_errors(candidates):
    other = candidates.with_members([2])
    other = type(other)(**vars(other) | {"joint": frozenset({2}), "expected_errors": {2: 0.5}})
    both = candidates.with_members([0]).with_members_of(other)
    assert both.members == (0, 5)
    assert both.joint == {5}
    assert both.expected_errors == {5: 0.5}
    np.testing.assert_array_equal(both.images[5], candidates.images[2])


def test_results_list_members_first_by_residual(candidates):
    candidates.certificates.residual[:] = [5, 4, 3, 2, 1]
    result = result_of(SearchState(candidates.with_members([0, 2]), samples=7, vote=Vote(6.5)))
    assert result.accepted.tolist() == [True, True, False, False, False]
    assert result.residual.tolist() == [3, 5, 1, 2, 4]
    assert np.isnan(result.error).all()
    assert (result.samples, result.member_weight) == (0, 6.5)  # N is not proven yet
