"""Leaks of small models and of simulated clients, for tests of the mapping."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gradleak.artifacts.leak import Leak
from gradleak.attacks.problem import Problem
from gradleak.federated import client
from gradleak.federated.options import ClientOptions

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 8}


def arr(arrays):
    return {f"arr_{i}": a for i, a in enumerate(arrays)}


def leak_of(model, delta, meta=None, before=None):
    weights = [v.numpy() for v in model.trainable_variables] if before is None else before
    return Leak(model.to_json(), arr(weights), arr(delta), {"samples": 8} if meta is None else meta)


def simulated(digits, draws=range(2), **changes):
    options = ClientOptions(**BASE | changes)
    model = client.global_model(options, digits["pretraining"])
    made = client.simulate(options, model, digits["private"], list(draws))
    return options, model, made, [leak_of(model, draw.delta, draw.meta) for draw in made]


def gradient(model, x, y, from_logits=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=False))
    return [g.numpy() for g in tape.gradient(value, model.trainable_variables)]


def small(*middle, head="linear"):
    """A model on 8×8 digits with known, unlike layers."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *middle, layers.Flatten(), layers.Dense(10, activation=head)]
    )


def anonymous(arrays):
    """Names that say nothing, in an order that says nothing."""
    return {name: arrays[i] for name, i in zip("zyxwvuts", np.random.default_rng(1).permutation(len(arrays)))}


def problem_of(found, counts=None, public=None):
    """The Problem of one mapped update. counts: images of each class [C]. public: images [P, H, W, C] and
    their labels; None: there are none.
    """
    if public is None:
        public = np.zeros((0, *found.model.input_shape[1:]), np.float32), np.zeros(0, int)
    return Problem(
        model=found.model,
        gradients=found.gradients,
        layer=found.layer,
        samples=found.samples,
        seeds=[0],
        counts=None if counts is None else counts[None],
        public=public[0],
        public_labels=public[1],
        rounding=found.rounding,
        noise=found.noise,
        steps=found.steps,
        scale_confidence=found.scale_confidence,
        loss=found.loss,
    )


def all_present(model):
    """A delta in which no column of the last kernel has one sign."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1e-3, v.shape).astype(np.float32) for v in model.trainable_variables]
