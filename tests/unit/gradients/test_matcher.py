"""The engine against plain autodiff: every layer kind, loss and weighting, per trial, alone and in a
block.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_models import (
    MODELS,
    TRIALS,
    assert_close,
    assert_equal_derivatives,
    built,
    engine,
    plain,
    problem,
)

from gradleak.gradients.matcher import build_matcher
from gradleak.gradients.objectives import LOSSES

# A loss sees a model only through ``products``. One that uses all three parts of them, per tensor, shows
# whether they are right; the other losses are compared on two models.
ONE = ("cosine",)


@pytest.mark.parametrize("name", MODELS)
def test_equals_plain_autodiff_in_a_block_and_alone(name):
    model = built(name)
    x, labels, targets, weights = problem(model)
    losses = tuple(LOSSES) if name in ("dense", "conv") else ONE
    block = engine(model, x, labels, targets, weights, losses)
    last = slice(TRIALS - 1, TRIALS)
    alone = engine(model, x[last], labels[last], [G[last] for G in targets], weights[last], ONE)
    for t in range(TRIALS):
        expected = plain(model, x[t], labels[t], [G[t] for G in targets], weights[t], losses)
        for loss in losses:
            assert_equal_derivatives([part[t] for part in block[loss]], expected[loss])
    for loss in ONE:
        assert_equal_derivatives([part[0] for part in alone[loss]], expected[loss])


@pytest.mark.parametrize("name", MODELS)
def test_materialised_gradients_equal_plain_autodiff(name):
    model = built(name)
    x, labels, _, _ = problem(model)
    found = build_matcher(model).gradients(tf.constant(x), tf.constant(labels))
    for t in range(TRIALS):
        with tf.GradientTape() as tape:
            entropy = tf.nn.softmax_cross_entropy_with_logits(labels[t], model(x[t], training=False))
            mean = tf.reduce_mean(entropy)
        for got, wanted in zip(found, tape.gradient(mean, model.trainable_variables), strict=True):
            assert_close(got[t], wanted, 1e-5)


def test_what_pooling_drops_is_not_computed():
    """Of 28 x 28 pixels cnn7 sees 26 x 26, so that both poolings come out even."""
    matcher = build_matcher(built("cnn7"))
    crops = [step for step in matcher.steps if step.stage.name == "crop"]
    assert [step.inputs for step in crops] == [(0,)]
    assert crops[0].stage.run(tf.zeros([1, 28, 28, 1])).shape == (1, 26, 26, 1)


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_norms_and_inner_products_of_a_large_tensor_are_exact_at_any_ratio(size):
    """Of a gradient far smaller or larger than its target, and of one close to it."""
    from gradleak.gradients.products import products

    rng = np.random.default_rng(5)
    target = rng.normal(size=(3, 20_000)).astype(np.float32)
    rows = (size * rng.normal(size=(3, 20_000))).astype(np.float32)
    rows[2] = target[2] * (1 + 1e-6 * rng.normal(size=20_000))
    inner, own, other = (part.numpy() for part in products(tf.constant(rows), tf.constant(target)))
    g, G = rows.astype(np.float64), target.astype(np.float64)
    np.testing.assert_allclose(own, (g * g).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(inner, (g * G).sum(axis=1), atol=1e-6 * np.sqrt(own * other).max())
    distance2 = ((g - G) ** 2).sum(axis=1)
    np.testing.assert_allclose(own - 2 * inner + other, distance2, rtol=1e-2 if size < 1 else 1e-3)


@pytest.mark.parametrize("images", [1, 40])
def test_equals_plain_autodiff_whether_few_rows_or_many(images):
    """One image leaves the kernel of 200 x 40 in factors, forty images multiply it out."""
    model = built("dense")
    x, labels, targets, weights = problem(model, trials=2, images=images)
    block = engine(model, x, labels, targets, weights)
    for t in range(2):
        expected = plain(model, x[t], labels[t], [G[t] for G in targets], weights[t])
        for loss in LOSSES:
            assert_equal_derivatives([part[t] for part in block[loss]], expected[loss])


def test_finite_differences_of_a_float64_model():
    keras.config.set_dtype_policy("float64")
    try:
        model = built("dense")
    finally:
        keras.config.set_dtype_policy("float32")
    for variable in model.variables:
        variable.assign(np.random.default_rng(1).normal(0, 0.2, variable.shape))
    x, labels, targets, weights = (
        [a.astype(np.float64) for a in part] if isinstance(part, list) else part.astype(np.float64)
        for part in problem(model)
    )
    found = engine(model, x, labels, targets, weights)
    rng = np.random.default_rng(2)
    along_x, along_labels = rng.normal(size=x.shape), rng.normal(size=labels.shape)
    step = 1e-3
    ahead, behind = (
        engine(model, x + s * along_x, labels + s * along_labels, targets, weights) for s in (step, -step)
    )
    for loss, (_, by_x, by_labels) in found.items():
        slope = (by_x * along_x).sum((1, 2, 3, 4)) + (by_labels * along_labels).sum((1, 2))
        difference = ahead[loss][0].astype(float) - behind[loss][0]
        np.testing.assert_allclose(difference / (2 * step), slope, rtol=2e-3)


def test_a_trial_that_is_not_finite_leaves_the_others_alone():
    model = built("conv")
    x, labels, targets, weights = problem(model)
    clean = engine(model, x, labels, targets, weights)
    x[1] = np.nan
    spoilt = engine(model, x, labels, targets, weights)
    for loss in LOSSES:
        assert np.isnan(spoilt[loss][0][1])
        for before, after in zip(clean[loss], spoilt[loss]):
            np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])


def test_l2_at_the_solution_is_far_below_float32_resolution():
    model = built("dense")
    x, labels, _, _ = problem(model)
    targets = build_matcher(model).gradients(tf.constant(x), tf.constant(labels))
    found = engine(model, x, labels, [t.numpy() for t in targets], np.ones((1, len(targets))))
    value, by_x, _ = found["l2_global"]
    assert np.all((value >= 0) & (value < 1e-12))
    assert np.isfinite(by_x).all()
