"""Learned weights are the best there are on the clients they are learnt from, and better than most on
others.
"""

import keras
import numpy as np
import pytest
from keras import layers

from gradleak.attacks.matching import dlg, learned_weights, targets, weightings
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Problem
from gradleak.gradients.matcher import build_matcher
from gradleak.images import to_float

LAYER = np.array([0, 0, 1, 1])


@pytest.fixture(scope="module")
def matcher():
    keras.utils.set_random_seed(0)
    return build_matcher(
        keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(20, "sigmoid"), layers.Dense(10)]
        )
    )


@pytest.fixture
def clients(digits):
    """first, number → public images [number, 2, H, W, C] and their labels."""
    public = digits["public"]

    def some(first, number):
        part = slice(2 * first, 2 * (first + number))
        images = to_float(public.x[part]).reshape(number, 2, *public.x.shape[1:])
        return images, public.y[part].reshape(number, 2)

    return some


def distance_left(steps, weights):
    """After a step of the best length along the weights' direction, as a share; steps: what
    ``learned_weights.steps`` gives.
    """
    left, directions = steps
    way = directions @ weights
    left_over = left - way * max(way @ left, 0) / (way @ way)
    return (left_over @ left_over) / (left @ left)


@pytest.mark.parametrize("loss", ["l2", "cosine", "cosine_global"])
def test_no_weighting_leads_closer(matcher, clients, rng, loss):
    found = learned_weights.weights(matcher, *clients(0, 12), loss)
    assert found.shape == (4,)
    assert (found >= 0).all()
    steps = learned_weights.steps(matcher, *clients(0, 12), loss)
    least = distance_left(steps, found)
    others = [rng.exponential(size=4) ** 3 for _ in range(200)] + list(np.eye(4)) + [np.ones(4)]
    assert least < 1
    for other in others:
        assert least <= distance_left(steps, other) + 1e-9


def test_what_was_learnt_helps_with_other_clients(matcher, clients):
    found = learned_weights.weights(matcher, *clients(0, 30), "cosine")
    steps = learned_weights.steps(matcher, *clients(100, 30), "cosine")
    least = distance_left(steps, found)
    for name in ("uniform", "depth", "last"):
        other = weightings.weights(name, LAYER, np.ones((1, 4)))[0]
        assert least < distance_left(steps, other)


def test_a_term_leads_downhill(matcher, clients):
    """Each direction is minus the gradient of the loss with that tensor alone, by finite differences of the
    sum.
    """
    from gradleak.gradients import objective

    images, labels = clients(0, 2)
    left, directions = learned_weights.steps(matcher, images, labels, "cosine")
    dummies = (images - left.reshape(images.shape)).astype(np.float32)
    classes = np.eye(10, dtype=np.float32)[labels]
    leaked = matcher.gradients(images, classes)

    def loss(x, row):
        return objective(matcher.products(x, classes, leaked), row[None], "cosine").numpy().sum(dtype=float)

    for index, row in enumerate(np.eye(4, dtype=np.float32)):
        way = directions[:, index].reshape(images.shape)
        way = (way / np.linalg.norm(way)).astype(np.float32)
        slope = (loss(dummies + 0.01 * way, row) - loss(dummies - 0.01 * way, row)) / 0.02
        assert slope == pytest.approx(-np.linalg.norm(directions[:, index]), rel=2e-2)


def test_all_trials_of_a_cell_share_them_and_dlg_runs(matcher, digits):
    public = digits["public"]
    leaks = matcher.gradients(
        to_float(public.x[:2])[:, None], np.eye(10, dtype=np.float32)[public.y[:2]][:, None]
    )
    counts = np.eye(10, dtype=int)[public.y[:2]]
    others = to_float(public.x[10:90]), public.y[10:90]
    problem = Problem(matcher.model, [g.numpy() for g in leaks], LAYER, 1, [0, 1], counts, *others)
    options = DlgOptions(weighting="learned", steps=5)
    found = targets.weights(problem, options, problem.gradients)
    assert found.shape == (1, 4)
    assert found.sum() == pytest.approx(4)
    np.testing.assert_array_equal(
        found, targets.weights(problem, options, [2 * g for g in problem.gradients])
    )
    assert dlg.invert(problem, options).status == ["ok", "ok"]
