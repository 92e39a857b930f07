"""Small blocks of trials for the tests of attacks: a dense net on 8×8 images, with random gradients or leaked
ones.
"""

from dataclasses import replace

import keras
import numpy as np

from gradleak.attacks.problem import Problem
from gradleak.gradients.matcher import build_matcher

SHAPE, CLASSES, SAMPLES = (8, 8, 1), 10, 3


def dense_net():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input(SHAPE), *layers])


def block_of(model, seeds, **changes):
    """A Problem with a random gradient for each seed, and ``changes`` of its fields."""

    def gradient(index, variable, seed):
        return np.random.default_rng([seed, index]).normal(0, 0.1 * (index + 1), variable.shape)

    gradients = [
        np.stack([gradient(i, v, seed) for seed in seeds]).astype(np.float32)
        for i, v in enumerate(model.trainable_variables)
    ]
    counts = np.array([np.bincount([seed % 10, 1, 2], minlength=CLASSES) for seed in seeds])
    public = np.random.default_rng(1).uniform(0, 1, (5, *SHAPE)).astype(np.float32)
    layer = np.array([0, 0, 1, 1])
    problem = Problem(model, gradients, layer, SAMPLES, list(seeds), counts, public, np.arange(5))
    return replace(problem, **changes)


def assert_rows(block, index, alone):
    np.testing.assert_array_equal(block[index : index + 1], alone)


def leaks_of(model, seeds):
    """Gradients of one image each: of rank one in the kernels."""
    rng = np.random.default_rng(len(seeds))
    x = rng.uniform(0, 1, (len(seeds), 1, *SHAPE)).astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, (len(seeds), 1))]
    return [g.numpy() for g in build_matcher(model).gradients(x, labels)]
