"""Models with a linear output, and models that cannot be attacked."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import gradient, small

from gradleak.images import to_float
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError


def with_softmax(kind):
    if kind == "activation":
        return small(layers.Dense(6, activation="relu"), head="softmax")
    model = small(layers.Dense(6, activation="relu"))
    last = layers.Softmax() if kind == "layer" else layers.Activation("softmax")
    return (
        keras.Sequential([*model.layers, last])
        if kind != "functional"
        else keras.Model(model.inputs, last(model.outputs[0]))
    )


@pytest.mark.parametrize("kind", ["activation", "layer", "activation layer", "functional"])
def test_a_softmax_head_is_made_linear_with_the_same_gradients(kind, digits):
    model = with_softmax(kind)
    if not model.built:
        model.build((None, 8, 8, 1))
    linear, what = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    assert "softmax" in what
    np.testing.assert_allclose(tf.nn.softmax(linear(x)), model(x), rtol=1e-5, atol=1e-6)
    assert not np.allclose(np.sum(linear(x), axis=1), 1)
    for one, other in zip(gradient(linear, x, y), gradient(model, x, y, from_logits=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_linear_head_is_left_alone(digits):
    model = small()
    linear, what = logits_model(model.to_json())
    assert "already linear" in what
    linear.set_weights(model.get_weights())
    x = to_float(digits["private"].x[:8])
    np.testing.assert_array_equal(linear(x), model(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no Keras model"),
        ("{}", "no Keras model"),
        (json.dumps({"class_name": "Nonsense", "config": {}}), "neither Sequential nor Functional"),
        (small(head="hard_sigmoid").to_json(), "ends in hard_sigmoid"),
        (keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3)]).to_json(), "needs images in"),
    ],
)
def test_a_model_that_cannot_be_attacked_is_refused_with_the_reason(text, message):
    with pytest.raises(MappingError, match=message):
        logits_model(text)


def test_models_of_keras_are_built_from_what_was_checked():
    """A regulariser is noted, and does not reach the model that is attacked."""
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, kernel_regularizer="l2")]
    )
    built, _ = logits_model(model.to_json())
    assert built.layers[-1].kernel_regularizer is None


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8), (4, 16)], ids=str)
@pytest.mark.parametrize("functional", [False, True])
def test_grey_values_in_another_shape_are_reshaped(shape, functional, digits):
    keras.utils.set_random_seed(3)
    image = keras.Input(shape, name="image")
    hidden = layers.Dense(12, activation="relu")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(hidden))
    if not functional:
        model = keras.Sequential([image, *model.layers[1:]])
    linear, what = logits_model(model.to_json(), (8, 8, 1))
    assert "reshaped" in what
    assert "softmax" in what
    linear.set_weights(model.get_weights())
    x = to_float(digits["private"].x[:8])
    np.testing.assert_allclose(tf.nn.softmax(linear(x)), model(x.reshape(8, *shape)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "image", "message"),
    [
        ((64,), (8, 8, 3), "choose another `dataset`"),
        ((28, 28, 1), (8, 8, 1), "choose another `dataset`"),
        ((192,), (8, 8, 3), "put a Reshape"),
        ((3, 8, 8), (8, 8, 3), "put a Reshape"),
    ],
)
def test_images_that_do_not_fit_the_model_are_refused_with_what_to_do(shape, image, message):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(10)])
    with pytest.raises(MappingError, match=message):
        logits_model(model.to_json(), image)
