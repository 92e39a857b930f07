"""Layers of signals, and of several inputs: built as Keras built them."""

import keras
import numpy as np
import pytest
from keras import layers

from gradleak.artifacts import architecture
from gradleak.artifacts.errors import ArtifactError

SIGNAL = (24, 3)


def merged(layer):
    entry = keras.Input((6, 6, 2))
    parts = [layers.Conv2D(4, 3)(entry), layers.Conv2D(4, 3, activation="relu")(entry)]
    return keras.Model(entry, layers.Dense(3)(layers.Flatten()(layer(parts))))


def signal(*stack):
    return keras.Sequential([keras.Input(SIGNAL), *stack, layers.Flatten(), layers.Dense(3)])


MODELS = {
    "conv": lambda: signal(layers.Conv1D(5, 3, strides=2, activation="relu"), layers.MaxPooling1D()),
    "conv, dilated": lambda: signal(layers.Conv1D(5, 3, dilation_rate=2, padding="same", use_bias=False)),
    "conv, causal": lambda: signal(layers.Conv1D(5, 4, padding="causal"), layers.AveragePooling1D(3, 2)),
    "global": lambda: signal(layers.Conv1D(4, 3), layers.GlobalAveragePooling1D(keepdims=True)),
    "global maximum": lambda: signal(layers.Conv1D(4, 3), layers.GlobalMaxPooling1D()),
    "padded": lambda: signal(layers.ZeroPadding1D((2, 0)), layers.Permute((2, 1)), layers.Conv1D(2, 2)),
    "dropout": lambda: signal(layers.SpatialDropout1D(0.2), layers.Conv1D(2, 2)),
    "maximum": lambda: merged(layers.Maximum()),
    "multiply": lambda: merged(layers.Multiply()),
    "subtract": lambda: merged(layers.Subtract()),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_checked_model_is_the_same_function(name, rng):
    model = MODELS[name]()
    found = architecture.read(model.to_json())
    again = keras.models.model_from_json(found.json)
    assert [v.shape for v in found.variables] == [tuple(v.shape) for v in model.weights]
    again.set_weights(model.get_weights())
    x = rng.uniform(size=(2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))


def test_options_that_are_no_sizes_are_refused():
    text = MODELS["padded"]().to_json()
    with pytest.raises(ArtifactError, match=r"dims must be an order of the axes"):
        architecture.read(text.replace('"dims": [2, 1]', '"dims": [2, 2]'))
    with pytest.raises(ArtifactError, match=r"padding must be one or two numbers"):
        architecture.read(text.replace('"padding": [2, 0]', '"padding": [2, 0, 1]'))
