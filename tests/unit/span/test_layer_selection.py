"""Which layer is searched, and which are refused."""

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


def test_a_layer_on_pixels_is_the_last_choice_and_must_be_sparse(update, digits):
    given = shallow(digits, update)
    assert layer_selection.select(given.model, given.public)[0].weights.shape == (64, UNITS)
    with pytest.raises(layer_selection.NoLayer, match="not nonnegative and sparse"):
        layer_selection.select(given.model, 0.1 + 0.9 * given.public)
    with pytest.raises(layer_selection.NoLayer, match="after several local steps"):
        layer_selection.select(given.model, given.public, one_step=False)
    wide = shallow(digits, update, units=200)
    assert layer_selection.select(wide.model, wide.public)[0].weights.shape == (200, 10)
