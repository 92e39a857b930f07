"""Clients with BatchNormalization on 8×8 digits, in training mode or at inference, whose batch is known."""

import keras
import tensorflow as tf
from keras import layers

from gradleak.artifacts.leak import Leak
from gradleak.images import to_float

RATE = 0.05


def net(*behind, act_first=False, hidden="relu"):
    keras.utils.set_random_seed(7)
    norm = layers.BatchNormalization(name="bn")
    normalise = [layers.ReLU(), norm] if act_first else [norm]
    stack = [layers.Conv2D(6, 3), *normalise, layers.ReLU(), layers.Flatten()]
    stack += [layers.Dense(24, activation=hidden, name="hidden"), *behind, layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *stack])


class Round:
    """One step of SGD of a client on N images, in ``mode``; after − before of all variables."""

    def __init__(self, model, digits, mode="training", images=8, steps=1):
        self.model = model
        x, y = to_float(digits["private"].x[:images]), digits["private"].y[:images]
        self.x, self.y = x, y
        before = {v.path: v.numpy() for v in model.weights}
        self.batch = self.statistics()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for _ in range(steps):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=mode == "training"))
            grads = tape.gradient(value, model.trainable_variables)
            for v, g in zip(model.trainable_variables, grads, strict=True):
                v.assign_sub(RATE * g)
        self.before = before
        self.delta = {v.path: v.numpy() - before[v.path] for v in model.weights}
        for v in model.weights:
            v.assign(before[v.path])

    def statistics(self):
        """Mean and variance of the input of the first BatchNormalization layer."""
        (layer, *_) = [x for x in self.model.layers if isinstance(x, layers.BatchNormalization)]
        values = keras.Model(self.model.inputs[0], layer.input)(self.x).numpy()
        return values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))

    def leak(self, delta=None, before=None, **meta):
        meta = {"samples": len(self.x), "learning_rate": RATE, "local_steps": 1} | meta
        delta = self.delta if delta is None else delta
        return Leak(self.model.to_json(), before or self.before, delta, meta)

    @property
    def trained(self):
        names = [v.path for v in self.model.trainable_variables]
        return {name: self.delta[name] for name in names}
