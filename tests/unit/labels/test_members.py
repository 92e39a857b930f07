"""Known members are subtracted from the update."""

from dataclasses import replace

import numpy as np
import pytest
from last_layers import COUNTS, batch_with_members

from gradleak.labels.evidence import (
    Client,
    Members,
    NotApplicable,
)
from gradleak.labels.registry import recover


@pytest.mark.parametrize("method", ["ilrg", "llg", "rank1_weighted", "posterior", "auto"])
def test_known_members_leave_the_update_of_the_others(method, rng, few_shadow_clients):
    evidence, alone, known = batch_with_members(rng, 20)
    found, rest = recover(method, evidence), recover(method, alone)
    np.testing.assert_array_equal(found.counts, known + rest.counts)
    if rest.low is not None:
        np.testing.assert_array_equal(found.low, known + rest.low)
        np.testing.assert_array_equal(found.high, known + rest.high)
        np.testing.assert_allclose(found.expected_irec, (20 + 12 * rest.expected_irec) / 32)


def test_a_batch_that_is_known_whole_needs_no_method(rng):
    evidence, _, known = batch_with_members(rng, 32)
    np.testing.assert_array_equal(recover("uniform", evidence).counts[0], known)
    np.testing.assert_array_equal(recover("rank1", evidence).counts[0], COUNTS["all"])


def test_draws_of_a_stack_may_have_different_members(rng):
    (some, _, _), (none, _, _) = batch_with_members(rng, 20), batch_with_members(rng, 0)
    both = replace(
        some,
        grad_weight=np.concatenate([some.grad_weight] * 2),
        grad_bias=np.concatenate([some.grad_bias] * 2),
        members=Members(
            *(np.concatenate([getattr(e.members, f) for e in (some, none)]) for f in vars(some.members))
        ),
    )
    found = recover("llg", both)
    np.testing.assert_array_equal(found.counts[0], recover("llg", some).counts[0])
    np.testing.assert_array_equal(found.counts[1], recover("llg", replace(some, members=None)).counts[0])
    assert found.samples.tolist() == [32, 32]


def test_members_of_several_steps_bound_the_counts_from_below(rng):
    evidence, _, known = batch_with_members(rng, 20)
    found = recover("uniform", replace(evidence, client=Client(steps=10)))
    assert (found.counts >= known).all()
    assert found.counts.sum() == 32


def test_more_members_than_images_are_refused(rng):
    evidence, _, _ = batch_with_members(rng, 20)
    with pytest.raises(NotApplicable, match="20 images are said to be members of an update of 12"):
        recover("uniform", replace(evidence, samples=12))
