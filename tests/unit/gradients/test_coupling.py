"""BatchNormalization in training mode: the gradient of a trial whose images share their statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from gradleak.gradients.layers import Coupling
from gradleak.gradients.matcher import build_matcher
from gradleak.gradients.trace import deviations

TRIALS, IMAGES, CLASSES = 3, 2, 4


def net(norm=None):
    keras.utils.set_random_seed(2)
    norm = norm or layers.BatchNormalization(name="bn")
    stack = [layers.Conv2D(4, 3), norm, layers.ReLU(), layers.MaxPooling2D(), layers.Flatten()]
    stack += [layers.Dense(6), layers.BatchNormalization(name="last"), layers.ReLU(), layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((9, 9, 2)), *stack])
    rng = np.random.default_rng(5)
    for v in model.weights:
        v.assign(np.abs(v.numpy() + rng.normal(0, 0.2, v.shape)) if "variance" in v.path else v.numpy())
    return model


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (TRIALS, IMAGES, 9, 9, 2)).astype(np.float32)
    labels = rng.dirichlet(np.ones(CLASSES), (TRIALS, IMAGES)).astype(np.float32)
    return x, labels


def in_training_mode(model, x, labels):
    """Gradients of one trial by plain autodiff; the moving statistics are put back."""
    kept = [v.numpy() for v in model.weights]
    with tf.GradientTape() as tape:
        entropy = tf.nn.softmax_cross_entropy_with_logits(labels, model(x, training=True))
        mean = tf.reduce_mean(entropy)
    found = tape.gradient(mean, model.trainable_variables)
    for v, value in zip(model.weights, kept, strict=True):
        v.assign(value)
    return found


def coupling(*names, **more):
    return Coupling(names or ("bn", "last"), IMAGES, **more)


def test_the_gradient_is_that_of_training_mode_for_each_trial(batch):
    model, (x, labels) = net(), batch
    found = build_matcher(model, coupling()).gradients(tf.constant(x), tf.constant(labels))
    for trial in range(TRIALS):
        wanted = in_training_mode(model, x[trial], labels[trial])
        for got, one in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got[trial], one, atol=2e-6 + 1e-5 * np.abs(one).max())


def test_a_layer_without_parameters_couples_too(batch):
    model = net(layers.BatchNormalization(name="bn", scale=False, center=False))
    x, labels = batch
    found = build_matcher(model, coupling()).gradients(tf.constant(x), tf.constant(labels))
    wanted = in_training_mode(model, x[1], labels[1])
    for got, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got[1], one, atol=2e-6 + 1e-5 * np.abs(one).max())


def test_frozen_parameters_of_a_coupled_layer_have_no_gradient(batch):
    model = net()
    model.get_layer("bn").trainable = False
    found = build_matcher(model, coupling()).gradients(*map(tf.constant, batch))
    assert len(found) == len(model.trainable_variables)


@pytest.mark.parametrize("is_fixed", [False, True])
def test_derivatives_by_finite_differences(batch, is_fixed):
    """Of the whole objective, in float64, along random directions."""
    model = keras.models.clone_model(
        net(), clone_function=lambda layer: type(layer).from_config(layer.get_config() | {"dtype": "float64"})
    )
    model.set_weights(net().get_weights())
    matcher = build_matcher(model, coupling(is_fixed=is_fixed))
    x, labels = (tf.constant(part, tf.float64) for part in batch)
    rng = np.random.default_rng(3)
    targets = [tf.constant(rng.normal(size=(1, *v.shape))) for v in model.trainable_variables]
    direction = tf.constant(rng.normal(size=x.shape))

    def value(x):
        found = matcher.products(x, labels, targets)
        return tf.reduce_sum(found.norm2 + found.inner, axis=1) + matcher.statistics_distance(x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(value(x))
    slope = tf.reduce_sum(tape.gradient(total, x) * direction, axis=[1, 2, 3, 4])
    step = 1e-5
    expected = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=2e-4)


def test_the_distance_of_statistics_is_zero_at_the_batch_itself(batch):
    model, (x, _) = net(), batch
    first, norm = model.layers[0], model.get_layer("bn")
    entered = first(x[2]).numpy()
    norm.moving_mean.assign(entered.mean(axis=(0, 1, 2)))
    norm.moving_variance.assign(entered.var(axis=(0, 1, 2)))
    found = build_matcher(model, coupling("bn")).statistics_distance(tf.constant(x)).numpy()
    np.testing.assert_allclose(found[2], 0, atol=1e-6)
    assert (found[:2] > 1e-4).all()


def test_without_a_coupling_nothing_is_added(batch):
    model, (x, _) = net(), batch
    matcher = build_matcher(model)
    assert deviations(matcher.steps, tf.constant(x[0])) == []
    np.testing.assert_array_equal(matcher.statistics_distance(tf.constant(x)), np.zeros(TRIALS))
