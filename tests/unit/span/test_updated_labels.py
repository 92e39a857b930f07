"""Labels by the model that a client sent back."""

import numpy as np
import pytest
from span_updates import problem

from gradleak.attacks.span import updated_labels
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float


@pytest.mark.parametrize(("factor", "believed"), [(0.01, True), (-2.0, False)])
def test_a_model_that_collapsed_in_training_labels_no_image(update, digits, factor, believed):
    """The client's steps multiplied the last layer's weights by 1 + ``factor``; a believed one's moved its
    first bias, too."""
    *_, kernel, bias = update.model.get_weights()
    moved = [np.zeros_like(weights) for weights in update.model.get_weights()[:-2]]
    favoured = np.eye(10, dtype=np.float32)[0] * believed
    steps = [*moved, factor * kernel, factor * bias + favoured]
    scale = FLOAT32_ROUNDING / update.rounding
    given = problem(update, digits, gradients=[-part[None] / np.float32(scale) for part in steps])
    public = to_float(digits["public"].x)
    before = update.model.predict(public, verbose=0)
    after = before * (1 + factor) + favoured
    expected = (after if believed else before).argmax(axis=1)
    assert (before.argmax(axis=1) != after.argmax(axis=1)).any()
    np.testing.assert_array_equal(updated_labels.labels_by_updated_model(given, 0, public), expected)


def test_without_public_images_a_model_that_gives_all_one_class_labels_none(update, digits):
    still = [np.zeros_like(weights) for weights in update.model.get_weights()[:-1]]
    scale = np.float32(FLOAT32_ROUNDING / update.rounding)
    nothing = {"public": to_float(digits["public"].x[:0]), "public_labels": digits["public"].y[:0]}
    x = to_float(digits["private"].x[:20])
    for favour in (0, 1000):
        steps = [*still, favour * np.eye(10, dtype=np.float32)[3]]
        given = problem(update, digits, gradients=[-part[None] / scale for part in steps], **nothing)
        found = updated_labels.labels_by_updated_model(given, 0, x)
        predicted = update.model.predict(x, verbose=0).argmax(axis=1)
        assert found.tolist() == ([-1] * 20 if favour else predicted.tolist())
