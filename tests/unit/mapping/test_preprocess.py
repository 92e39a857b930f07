"""The client's own scaling as a layer in front of its model."""

import keras
import numpy as np
import pytest

from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError
from gradleak.mapping.preprocess import Preprocess, in_front

COLOUR = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.1, 0.3]}


def net(shape, functional=False):
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, "relu"), keras.layers.Dense(3, "softmax")]
    if not functional:
        return keras.Sequential([keras.Input(shape), *layers])
    image = keras.Input(shape)
    x = layers[0](image)
    return keras.Model(image, layers[2](layers[1](keras.layers.Concatenate()([x, x]))))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(
    ("shape", "stated", "expected"),
    [
        ((4, 4, 1), {"mean": 0.1307, "std": 0.3081}, lambda x: (x - 0.1307) / 0.3081),
        ((4, 4, 3), COLOUR, lambda x: (x - np.array(COLOUR["mean"])) / np.array(COLOUR["std"])),
        ((4, 4, 3), {"mean": 0.5, "std": [0.2, 0.1, 0.3]}, lambda x: (x - 0.5) / np.array(COLOUR["std"])),
        ((4, 4, 1), {"range": [-1, 1]}, lambda x: 2 * x - 1),
        ((4, 4, 1), {"mean": [0.5], "std": [0.5]}, lambda x: 2 * x - 1),
    ],
)
def test_the_model_sees_what_the_client_gave_it(rng, functional, shape, stated, expected):
    model = net(shape, functional)
    plain, _ = logits_model(model.to_json(), shape)
    scaled, _ = logits_model(in_front(model.to_json(), Preprocess(**stated)), shape)
    scaled.set_weights(plain.get_weights())
    x = rng.uniform(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(scaled(x), plain(expected(x).astype(np.float32)), rtol=1e-4, atol=1e-5)


def test_a_vector_behind_an_image_is_scaled_too(rng):
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(3)])
    scaled, _ = logits_model(in_front(model.to_json(), Preprocess(range=[-1, 1])), (4, 4, 1))
    scaled.set_weights(model.get_weights())
    x = rng.uniform(size=(2, 4, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(scaled(x), model(2 * x.reshape(2, 16) - 1), rtol=1e-4, atol=1e-5)


def test_the_numbers_must_be_as_many_as_the_channels():
    with pytest.raises(MappingError, match=r"preprocess has 3 numbers, and the model takes \(4, 4, 1\)"):
        in_front(net((4, 4, 1)).to_json(), Preprocess(**COLOUR))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "give mean and std, or range"),
        ({"mean": 0.5}, "give mean and std, or range"),
        ({"mean": 0.5, "std": 1, "range": [0, 1]}, "give mean and std, or range"),
        ({"mean": 0.5, "std": 0}, "greater than 0"),
        ({"range": [1, 0]}, "first number of range must be less"),
        ({"mean": [0.1, 0.2], "std": [1, 1, 1]}, "mean and std must have as many numbers"),
    ],
)
def test_half_or_double_statements_are_refused(stated, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**stated)
