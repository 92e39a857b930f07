"""A client's local round: mini-batches of its images, gradient steps from the server's model, the change of
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import keras
import numpy as np
import tensorflow as tf

from gradleak.datasets.examples import Examples
from gradleak.federated.options import ClientOptions
from gradleak.gradients.matcher import logit_signal
from gradleak.images import to_float
from gradleak.losses import PLAIN, SUM, Loss


def local_training(
    options: ClientOptions,
    model: keras.Model,
    gradient: Callable,
    private: Examples,
    seed: list[int],
    before_step: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """After − before of one client that trains ``model`` on ``private``; the model's weights are restored.

    gradient: of ``gradient_function``. seed: of the order of images. before_step: called before each local
    step, to evaluate the model on its way. Returns float32 arrays in the order of
    ``model.trainable_variables``.
    """
    before = weights_of(model)
    optimizer = optimizer_of(options)
    optimizer.build(model.trainable_variables)
    for index in batches(options, seed):
        before_step()
        x, y = to_float(private.x[index]), private.y[index]
        optimizer.apply_gradients(zip(gradient(x, y), model.trainable_variables, strict=True))
    # Subtracted in float32, as a client would: the rounding noise in the update is part of the problem.
    change = [v.numpy() - b for v, b in zip(model.trainable_variables, before, strict=True)]
    assign(model, before)
    return change


def gradient_function(model: keras.Model, loss: Loss = PLAIN) -> Callable:
    """(x float32 [N, H, W, C], y) → gradients of ``loss_of``, or of another loss of K logits, compiled."""
    if loss != PLAIN:
        return _gradient_of(model, loss)

    @tf.function(reduce_retracing=True)
    def gradient(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss_of(y, model.output_shape[-1])(y, model(x, training=False))
        return tape.gradient(value, model.trainable_variables)

    return gradient


def _gradient_of(model: keras.Model, loss: Loss) -> Callable:
    """The same of ``loss``, with its reduction. y: int (N,)."""

    @tf.function(reduce_retracing=True)
    def gradient(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(x, training=False)
        images, classes = tf.shape(logits)[0], logits.shape[-1]
        signal = logit_signal(logits, tf.one_hot(y, classes), images, loss.of_one_image.text)
        factor = tf.cast(images, tf.float32) if loss.reduction == SUM else 1.0
        return tape.gradient(logits, model.trainable_variables, factor * loss.scale(1, classes) * signal)

    return gradient


def loss_of(y: tf.Tensor | np.ndarray, outputs: int) -> keras.losses.Loss:
    """The mean cross-entropy of logits (N, ``outputs``).

    y: int (N,), of a softmax, or of one sigmoid unit where ``outputs`` is 1; or multi-hot (N, outputs), of
    one sigmoid a class.
    """
    if len(y.shape) == 2 or outputs == 1:
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def optimizer_of(options: ClientOptions) -> keras.optimizers.Optimizer:
    """The client's optimizer, with nothing accumulated yet."""
    if options.optimizer == "adam":
        return keras.optimizers.Adam(options.learning_rate)
    momentum = options.momentum if options.optimizer == "momentum" else 0.0
    return keras.optimizers.SGD(options.learning_rate, momentum=momentum)


def batches(options: ClientOptions, seed: list[int]) -> list[np.ndarray]:
    """Indices of the images of each local step: a new order for each epoch, the last batch of an epoch may be
    smaller.
    """
    rng = np.random.default_rng([*seed, crc32(b"order")])
    n, size = options.client_samples, options.batch_size
    found: list[np.ndarray] = []
    while len(found) < options.steps:
        order = rng.permutation(n)
        found += [order[i : i + size] for i in range(0, n, size)]
    return found[: options.steps]


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """Values of the trainable variables."""
    return [v.numpy() for v in model.trainable_variables]


def assign(model: keras.Model, values: list[np.ndarray]) -> None:
    """Set the trainable variables."""
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
