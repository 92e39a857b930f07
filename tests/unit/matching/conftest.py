"""Fixtures of the matching tests: a dense net, blocks of trials on it, a decoder."""

from functools import partial

import keras
import pytest
from small_problems import SHAPE, block_of, dense_net


@pytest.fixture(scope="module")
def model():
    return dense_net()


@pytest.fixture
def problem_of(model):
    return partial(block_of, model)


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(64, "sigmoid"), keras.layers.Reshape(SHAPE)]
    )
