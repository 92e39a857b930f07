"""Clients whose models end in sigmoids: one unit for two classes of the 8×8 digits, or one for each label."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from mapped import leak_of

from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle

RATE = np.float32(0.1)
META = {"learning_rate": 0.1, "local_steps": 1, "optimizer": "sgd", "sign": "after_minus_before"}


def net(units, activation=None, width=64, seed=1):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(width, activation="relu")
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), hidden, layers.Dense(units, activation)]
    )


def zeros_and_ones(images):
    """(x float32, y int) of the images of the classes 0 and 1."""
    own = np.flatnonzero(images.y < 2)
    return to_float(images.x[own]), images.y[own]


def parities(y):
    """Multi-hot labels of digits [n, 3]: even, below 5, divisible by 3."""
    return np.stack([y % 2 == 0, y < 5, y % 3 == 0], axis=1).astype(np.uint8)


def keras_gradient(model, x, y):
    """Of Keras's own loss. y: int (n,) for one unit, or multi-hot (n, K)."""
    linear = model.layers[-1].activation is keras.activations.linear
    loss = keras.losses.BinaryCrossentropy(from_logits=linear)
    with tf.GradientTape() as tape:
        value = loss(y.reshape(len(y), -1), model(x, training=False))
    return [g.numpy() for g in tape.gradient(value, model.trainable_variables)]


def update(model, x, y, **meta):
    """The leak of one step of SGD, by the difference of float32 weights."""
    before = [v.numpy() for v in model.trainable_variables]
    after = [b - RATE * g for b, g in zip(before, keras_gradient(model, x, y), strict=True)]
    delta = [a - b for a, b in zip(after, before, strict=True)]
    return leak_of(model, delta, META | {"samples": len(x)} | meta)


def mapped(leaks, public, **claims):
    return settle(leaks, *public, UserClaims(**claims))
