"""DLG on small nets, with and without known members."""

import numpy as np
import pytest
import tensorflow as tf
from small_problems import CLASSES, SHAPE

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Members, Problem


def test_a_trial_without_counts_is_not_applicable_and_its_neighbour_is_ok(problem_of):
    problem = problem_of([0, 1])
    problem.counts[0] = 0
    found = dlg.invert(problem, DlgOptions(steps=2))
    assert found.status == ["not applicable", "ok"]
    alone = dlg.invert(problem_of([1]), DlgOptions(steps=2))
    np.testing.assert_allclose(found.images[1:], alone.images, atol=1e-5)


def test_members_stand_in_places_of_their_labels_as_far_as_there_are_any():
    labels = np.array([[1, 1, 4], [2, 2, 2]])
    accepted = np.array([[True, False, True, True], [False, False, False, False]])
    found = np.array([[4, 1, 4, 1], [2, 2, 2, 2]])
    first, second = dlg.places_of_members(labels, accepted, found)
    np.testing.assert_array_equal(first, [[2, 0], [0, 3]])  # image 2 shows a second 4: there is one
    assert second.shape == (0, 2)


@pytest.mark.parametrize("starts", [1, 2])
def test_members_stay_as_they_are_and_the_others_are_searched_for(model, starts):
    x = np.random.default_rng(3).uniform(0, 1, (2, *SHAPE)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([4, 7], model(x)))
    gradients = [g.numpy()[None] for g in tape.gradient(loss, model.trainable_variables)]
    counts = np.eye(CLASSES, dtype=int)[[4, 7]].sum(axis=0)[None]
    known = Members(x[None, ::-1], np.array([[7, 4]]), np.array([[True, False]]))
    problem = Problem(
        model, gradients, np.array([0, 0, 1, 1]), 2, [0], counts, x, np.array([4, 7]), members=known
    )
    found = dlg.invert(problem, DlgOptions(steps=400, tv=0.0, polish_steps=20, starts=starts))
    np.testing.assert_array_equal(found.images[0, 1], x[1])
    assert np.mean((found.images[0, 0] - x[0]) ** 2) < 1e-3
    np.testing.assert_array_equal(found.labels, [[4, 7]])


@pytest.mark.parametrize("other", [{"labels": "joint"}, {"control": "random_gradient"}])
def test_members_without_known_labels_or_of_a_control_are_refused(other):
    with pytest.raises(ValueError, match="members"):
        DlgOptions(members={}, **other)


def test_dlg_recovers_an_image_from_its_own_gradient(model):
    """One image of a dense net, label known: the easiest leak there is."""
    x = np.random.default_rng(3).uniform(0, 1, (1, *SHAPE)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([4], model(x))
    gradients = [g.numpy()[None] for g in tape.gradient(loss, model.trainable_variables)]
    counts = np.eye(CLASSES, dtype=int)[[4]]
    problem = Problem(model, gradients, np.array([0, 0, 1, 1]), 1, [0], counts, x, np.array([4]))
    found = dlg.invert(problem, DlgOptions(steps=400, tv=0.0))
    assert np.mean((found.images[0] - x) ** 2) < 1e-3
    assert found.labels[0, 0] == 4
