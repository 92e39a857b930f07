"""The image as which a model's input is attacked, and shapes that do not fit it."""

import keras
import numpy as np
import pytest
from keras import layers
from mapped import leak_of

from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError
from gradleak.mapping.input_shapes import as_image
from gradleak.mapping.settle import settle


@pytest.mark.parametrize(
    ("taken", "kinds", "image"),
    [
        ((28, 20, 3), [], (28, 20, 3)),
        ((28, 20), ["Flatten"], (28, 20, 1)),
        ((14,), ["Dense"], (1, 14, 1)),
        ((100, 6), ["Conv1D"], (1, 100, 6)),
        ((4, 8, 8, 3), ["Flatten"], (32, 8, 3)),
    ],
)
def test_every_input_is_an_image(taken, kinds, image):
    assert as_image(taken, kinds) == image


def vectors(size=64):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((size,)), layers.Dense(9, activation="relu"), layers.Dense(3)])


@pytest.mark.parametrize("shape", [(8, 8, 1), (4, 4, 4), (1, 64, 1)])
def test_a_vector_is_the_image_that_the_user_says(shape, rng):
    model = vectors()
    images, what = logits_model(model.to_json(), shape, is_stated=True)
    images.set_weights(model.get_weights())
    assert images.input_shape == (None, *shape)
    assert "reshaped" in what
    x = rng.uniform(size=(5, 64)).astype(np.float32)
    np.testing.assert_allclose(images(x.reshape(5, *shape)), model(x), rtol=1e-5, atol=1e-6)


def test_a_stated_shape_of_another_size_is_refused_by_its_key():
    leak = leak_of(vectors(), [np.ones(v.shape, np.float32) for v in vectors().trainable_variables])
    with pytest.raises(MappingError, match=r"takes 64 numbers.*`input_shape` \[28, 28, 1\] has 784; correct"):
        settle([leak], None, None, UserClaims(samples=1, input_shape=(28, 28, 1)))


def test_public_images_of_another_shape_name_all_remedies():
    with pytest.raises(MappingError, match="another `dataset`, one of your own images, or `dataset: none`"):
        logits_model(vectors().to_json(), (28, 28, 1))


def test_inputs_that_are_no_numbers_or_several_are_refused_by_name():
    tokens = keras.Sequential([keras.Input((9,)), layers.Embedding(50, 4), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(MappingError, match=r"embedding.* \(Embedding\) reads tokens"):
        logits_model(tokens.to_json())
    steps = keras.Sequential([keras.Input((9, 2)), layers.LSTM(4), layers.Dense(2)])
    with pytest.raises(MappingError, match=r"lstm.* \(LSTM\) reads a sequence"):
        logits_model(steps.to_json())
    one, other = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(MappingError, match="2 inputs"):
        logits_model(keras.Model([one, other], layers.Dense(2)(layers.Add()([one, other]))).to_json())
