"""The vote on the weight of a member."""

import dataclasses

import numpy as np
import pytest
from span_updates import span_of
from test_membership import made

from gradleak.attacks.span import certificates
from gradleak.attacks.span.certificates import of_images
from gradleak.attacks.span.weight_vote import vote
from gradleak.images import to_float


def test_weights_in_the_span_vote_whatever_the_scale():
    for unit in (1.0, 0.05, 22 / 64):
        judged = made(
            4, weight=unit * np.array([64.2, 63.9, 20, 20]), uncertainty=unit * np.array([0.1, 0.1, 1, 1])
        )
        found = vote(judged, one_step=True)
        assert found.weight == pytest.approx(64.05 * unit)
        assert (found.voters, found.is_exact) == (2, True)
    assert vote(made(2, normalised_residual=200.0), one_step=True).weight == 0
    assert vote(made(2, weight=-5.0), one_step=True).weight == 0


def test_equal_groups_are_decided_by_the_stated_number():
    judged = made(2, weight=[8.0, 4.0], uncertainty=1e-4)
    assert vote(judged, True, samples=8).weight == 8
    assert vote(judged, True, samples=4).weight == 4


def test_copies_in_the_batch_do_not_dissent_and_class_weights_do():
    """An image that is in the batch k times has a k-th of the weight."""
    twice = vote(made(4, weight=[12.0, 12.0, 6.0, 4.0], uncertainty=1e-4), True)
    assert (twice.weight, twice.dissent, twice.differs) == (12, (), False)
    weighted = vote(made(4, weight=[12.0, 12.0, 7.5, 7.5], uncertainty=1e-4), True)
    assert weighted.dissent == (7.5, 7.5)
    assert weighted.differs
    one = vote(made(11, weight=[12.0] * 10 + [7.5], uncertainty=1e-4), True)
    assert (one.dissent, one.differs) == ((7.5,), False)
    assert vote(made(10, weight=[12.0] * 9 + [7.5], uncertainty=1e-4), True).differs
    unclear = vote(made(2, weight=[12.0, 7.5], uncertainty=1e-4, label_margin=[1e3, 9]), True, 12)
    assert unclear.dissent == ()


def test_members_agree_and_public_images_do_not_vote(update, digits):
    layer, span = span_of(update)
    members = of_images(layer, span, update.x)
    for one_step in (True, False):
        found = vote(members, one_step)
        assert found.weight == pytest.approx(4, rel=1e-3)
        assert found.voters == 4
    assert vote(of_images(layer, span, to_float(digits["public"].x)), True).weight == 0


def test_without_an_exact_image_two_unlike_ones_must_agree(update):
    layer, span = span_of(update)
    exact = of_images(layer, span, update.x)

    def judged(images, weights, normalised_residual=20.0):
        return dataclasses.replace(
            certificates.subset(exact, images),
            weight=np.array(weights),
            normalised_residual=np.full(len(images), normalised_residual),
        )

    three = judged([0, 1, 2], [4.1, 3.8, 5.0])
    assert vote(three, True).weight == pytest.approx(3.95)
    assert not vote(three, True).is_exact
    assert vote(three, one_step=False).weight == 0
    assert vote(judged([0, 0, 1], [4.1, 4.1, 5.0]), True).weight == 0  # a copy is no second image
    assert vote(judged([0, 1], [4.1, 3.8], normalised_residual=200.0), True).weight == 0
    unclear = dataclasses.replace(judged([0, 1], [4.1, 3.8]), label_margin=np.array([200.0, 5.0]))
    assert vote(unclear, True).weight == 0
    one_exact = dataclasses.replace(three, normalised_residual=np.array([20.0, 20.0, 1.0]))
    assert vote(one_exact, True).weight == 5
