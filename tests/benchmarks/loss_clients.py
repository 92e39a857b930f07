"""Clients of bench_losses.py: losses and local optimisers as people have them, in plain TensorFlow, and what
their metadata state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

CLASSES = 10
CLASS_WEIGHTS = np.geomspace(0.3, 3, CLASSES).astype(np.float32)
Deltas = list[np.ndarray]


def cross_entropy(y: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """[N], with smoothed labels (1 − ε) e_y + ε / K."""
    target = tf.one_hot(y, CLASSES) * (1 - smoothing) + smoothing / CLASSES
    return tf.nn.softmax_cross_entropy_with_logits(target, logits)


def _smoothed(smoothing: float) -> Callable:
    return lambda y, logits: tf.reduce_mean(cross_entropy(y, logits, smoothing))


def _weighted(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """As PyTorch computes it: divided by the sum of the images' weights."""
    weights = tf.gather(tf.constant(CLASS_WEIGHTS), y)
    return tf.reduce_sum(weights * cross_entropy(y, logits)) / tf.reduce_sum(weights)


def _weighted_by_keras(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.gather(tf.constant(CLASS_WEIGHTS), y) * cross_entropy(y, logits))


def _focal(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    p = tf.gather(tf.nn.softmax(logits), y, batch_dims=1)
    return tf.reduce_mean((1 - p) ** 2 * cross_entropy(y, logits))


def _squared(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean((outputs - tf.one_hot(y, CLASSES)) ** 2)


def _binary(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.one_hot(y, CLASSES), logits))


def _nll(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_mean(tf.gather(tf.nn.log_softmax(logits), y, batch_dims=1))


@dataclass(frozen=True)
class Loss:
    """value: (y int [N], logits [N, K]) → number. stated: in the metadata."""

    value: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    stated: dict[str, Any]


LOSSES = {
    "cross-entropy": Loss(_smoothed(0.0), {"loss": "CrossEntropyLoss()"}),
    "NLL of log-softmax": Loss(_nll, {"loss": "nn.NLLLoss()"}),
    "sum": Loss(
        lambda y, z: tf.reduce_sum(cross_entropy(y, z)), {"loss": "CrossEntropyLoss(reduction='sum')"}
    ),
    "half": Loss(
        lambda y, z: 0.5 * tf.reduce_mean(cross_entropy(y, z)), {"loss": "cross_entropy(factor=0.5)"}
    ),
    "smoothing .05": Loss(_smoothed(0.05), {"loss": "CrossEntropyLoss(label_smoothing=0.05)"}),
    "smoothing .1": Loss(_smoothed(0.1), {"loss": "cross_entropy", "label_smoothing": 0.1}),
    "smoothing .2": Loss(_smoothed(0.2), {"loss": "CrossEntropyLoss(label_smoothing=0.2)"}),
    "class weights": Loss(_weighted, {"loss": "cross_entropy", "class_weights": CLASS_WEIGHTS.tolist()}),
    "class weights, Keras": Loss(
        _weighted_by_keras,
        {
            "loss": "categorical_crossentropy",
            "class_weights": CLASS_WEIGHTS.tolist(),
            "loss_reduction": "sum_over_batch_size",
        },
    ),
    "focal, γ = 2": Loss(_focal, {"loss": "FocalLoss(gamma=2)"}),
    "squared error of logits": Loss(_squared, {"loss": "MSELoss()"}),
    "squared error of softmax": Loss(
        lambda y, z: _squared(y, tf.nn.softmax(z)), {"loss": "squared_error_of_softmax"}
    ),
    "softmax inside cross-entropy": Loss(
        lambda y, z: tf.reduce_mean(cross_entropy(y, tf.nn.softmax(z))), {"loss": "crossentropy_of_softmax"}
    ),
    "BCE of one-hot labels": Loss(_binary, {"loss": "nn.BCEWithLogitsLoss()"}),
}


@dataclass(frozen=True)
class Local:
    """A local optimiser. make: rate → a Keras optimiser. rate, steps: of the round. decay: λ of λ w in the
    gradient (PyTorch's ``weight_decay`` of SGD), or decoupled, as the optimiser has it. stated: in the
    metadata.
    """

    make: Callable[[float], keras.optimizers.Optimizer]
    rate: float = 0.1
    steps: int = 1
    decay: float = 0.0
    stated: dict[str, Any] = field(default_factory=dict)


OPTIMIZERS = {
    "SGD": Local(keras.optimizers.SGD, stated={"optimizer": "SGD"}),
    "SGD, 4 steps": Local(keras.optimizers.SGD, 0.05, 4, stated={"optimizer": "SGD"}),
    "momentum, first step": Local(
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9), stated={"optimizer": "SGD", "momentum": 0.9}
    ),
    "Nesterov, first step": Local(
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        stated={"optimizer": "SGD", "momentum": 0.9, "nesterov": True},
    ),
    "SGD, weight decay 5e-4": Local(
        keras.optimizers.SGD, decay=5e-4, stated={"optimizer": "SGD", "weight_decay": 5e-4}
    ),
    "SGD, weight decay .01": Local(
        keras.optimizers.SGD, decay=0.01, stated={"optimizer": "SGD", "weight_decay": 0.01}
    ),
    "Adam": Local(keras.optimizers.Adam, 1e-3, stated={"optimizer": "Adam"}),
    "AdamW": Local(
        lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01),
        1e-3,
        stated={"optimizer": "AdamW", "weight_decay": 0.01},
    ),
}


def delta_of(model: keras.Model, loss: Loss, local: Local, x: np.ndarray, y: np.ndarray) -> Deltas:
    """After − before of one client, whose every step has all its images. The model's weights are restored."""
    before, optimizer = model.get_weights(), local.make(local.rate)
    variables = model.trainable_variables
    start = [one.numpy() for one in variables]
    for _ in range(local.steps):
        with tf.GradientTape() as tape:
            value = loss.value(tf.constant(y), model(x, training=False))
        gradients = tape.gradient(value, variables)
        optimizer.apply_gradients(
            [(g + local.decay * v, v) for g, v in zip(gradients, variables, strict=True)]
        )
    delta = [one.numpy() - old for one, old in zip(variables, start, strict=True)]
    model.set_weights(before)
    return delta


def metadata_of(loss: Loss, local: Local, samples: int) -> dict[str, Any]:
    """What a recorder that knows the client's settings would write."""
    return {
        "sign": "after_minus_before",
        "samples": samples,
        "batch_size": samples,
        "local_steps": local.steps,
        "learning_rate": local.rate,
        **local.stated,
        **loss.stated,
    }
