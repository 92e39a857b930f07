"""Names of losses in the ways people write them, and their gradients at the logits against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from gradleak.gradients.matcher import TENSORFLOW, logit_signal
from gradleak.losses import BINARY, CATEGORICAL, Loss, canonical, loss_named, parse, signal

CLASSES = 5
WEIGHTS = (0.2, 1.0, 3.0, 0.5, 1.5)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("nn.CrossEntropyLoss()", CATEGORICAL),
        ("torch.nn.NLLLoss", CATEGORICAL),
        ("nn.BCEWithLogitsLoss()", BINARY),
        ("CrossEntropyLoss(weight=None, label_smoothing=0.1)", f"{CATEGORICAL}(label_smoothing=0.1)"),
        ("CrossEntropyLoss(reduction='sum')", f"{CATEGORICAL}(reduction=sum)"),
        ("SparseCategoricalCrossentropy(from_logits=True)", CATEGORICAL),
        ("cross_entropy(weight=tensor([1., 2., 4.]))", f"{CATEGORICAL}(class_weights=[1, 2, 4])"),
        ("cross_entropy(weight=[2, 2, 2])", CATEGORICAL),
        ("FocalLoss(gamma=3, alpha=0.25)", "focal(gamma=3, factor=0.25)"),
        ("MSELoss()", "squared_error"),
        ("brier", "squared_error_of_softmax"),
        ("triplet", "triplet"),
        ("CrossEntropyLoss(margin=2)", "CrossEntropyLoss(margin=2)"),
        ("CrossEntropyLoss(label_smoothing=2)", "CrossEntropyLoss(label_smoothing=2)"),
        ("mse(label_smoothing=0.1)", "mse(label_smoothing=0.1)"),
    ],
)
def test_a_written_loss_is_read_or_left_as_it_is(written, text):
    assert canonical(written) == text
    assert canonical(text) == text


def _cross_entropy(y, z, smoothing=0.0):
    target = y * (1 - smoothing) + smoothing / CLASSES
    return tf.nn.softmax_cross_entropy_with_logits(target, z)


def _focal(y, z):
    p = tf.reduce_sum(y * tf.nn.softmax(z), axis=1)
    return (1 - p) ** 2 * _cross_entropy(y, z)


VALUES = {
    CATEGORICAL: _cross_entropy,
    f"{CATEGORICAL}(label_smoothing=0.2)": lambda y, z: _cross_entropy(y, z, 0.2),
    f"{CATEGORICAL}(class_weights={list(WEIGHTS)}, reduction=sum_over_batch_size)": lambda y, z: (
        tf.linalg.matvec(y, WEIGHTS) * _cross_entropy(y, z)
    ),
    "focal(gamma=2)": _focal,
    "squared_error": lambda y, z: tf.reduce_mean((z - y) ** 2, axis=1),
    "squared_error_of_softmax": lambda y, z: tf.reduce_mean((tf.nn.softmax(z) - y) ** 2, axis=1),
    "crossentropy_of_softmax": lambda y, z: _cross_entropy(y, tf.nn.softmax(z)),
    BINARY: lambda y, z: tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, z), axis=1),
}


@pytest.mark.parametrize("text", VALUES)
def test_the_signal_is_the_gradient_of_the_loss(text):
    rng = np.random.default_rng(0)
    z = tf.constant(rng.normal(0, 2, (6, CLASSES)).astype(np.float32))
    y = tf.one_hot(rng.integers(CLASSES, size=6), CLASSES)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = tf.reduce_mean(VALUES[text](y, z))
    expected = tape.gradient(value, z).numpy()
    np.testing.assert_allclose(logit_signal(z, y, 6, text), expected, atol=1e-6)
    np.testing.assert_allclose(signal(loss_named(text), z.numpy(), y.numpy()) / 6, expected, atol=1e-6)


def test_a_weighted_mean_is_divided_by_the_weights_of_each_trial():
    loss = Loss(weights=WEIGHTS)
    rng = np.random.default_rng(1)
    z = tf.constant(rng.normal(0, 2, (6, CLASSES)).astype(np.float32))
    labels = rng.integers(CLASSES, size=6)
    found = logit_signal(z, tf.one_hot(labels, CLASSES), 3, loss.text).numpy()
    weights = np.array(WEIGHTS)[labels].reshape(2, 3)
    one = signal(Loss(), z.numpy(), np.eye(CLASSES)[labels]).reshape(2, 3, CLASSES)
    expected = weights[:, :, None] * one / weights.sum(axis=1)[:, None, None]
    np.testing.assert_allclose(found, expected.reshape(6, CLASSES), atol=1e-6)


def test_the_scale_of_a_sum_counts_images_and_outputs():
    assert parse("cross_entropy(reduction=sum, factor=0.5)").scale(8, 10) == 4
    assert parse("mse(reduction=sum)").scale(8, 10) == 80
    assert parse("cross_entropy").scale(8, 10) == 1


def test_the_signal_keeps_its_derivative_in_the_labels():
    z, y = tf.zeros([1, CLASSES]), tf.constant([[0.2] * CLASSES])
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = tf.reduce_sum(signal(Loss("focal"), z, y, TENSORFLOW) * tf.range(CLASSES, dtype=tf.float32))
    assert np.abs(tape.gradient(found, y)).max() > 0.1
