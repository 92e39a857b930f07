"""Which layer is searched, and which are refused."""

import keras
import numpy as np
import pytest
from span_updates import SHAPE, UNITS, layer_of, shallow

from gradleak.attacks.span import layer_selection
from gradleak.images import to_float


def test_images_come_back_from_features_that_determine_them(update, digits):
    public, inside = to_float(digits["public"].x), np.ones(SHAPE, bool)
    layer = layer_of(update.model, "float32")
    assert layer_selection.recalled(layer, public, inside) > 20
    assert layer_selection.recalled(layer, public[:2], inside) > 20  # from the only other one


def test_a_layer_on_pixels_is_the_last_choice(update, digits):
    given = shallow(digits, update)
    assert layer_selection.select(given.model, given.public)[0].weights.shape == (64, UNITS)
    wide = shallow(digits, update, units=200)
    assert layer_selection.select(wide.model, wide.public)[0].weights.shape == (200, 10)
    pixels = layer_selection.of_pixels(wide.model, wide.public)
    assert pixels is not None
    assert pixels[1].weights.shape == (64, 200)


def test_a_layer_on_pixels_without_a_relu_must_be_sparse(update, digits):
    given = shallow(digits, update)
    given.model.layers[-2].activation = keras.activations.tanh
    assert layer_selection.of_pixels(given.model, given.public) is None
    with pytest.raises(
        layer_selection.NoLayer, match="neither pixels before a ReLU nor nonnegative and sparse"
    ):
        layer_selection.select(given.model, 0.1 + 0.9 * given.public)
    with pytest.raises(layer_selection.NoLayer, match="after several local steps"):
        layer_selection.select(given.model, given.public, one_step=False)
