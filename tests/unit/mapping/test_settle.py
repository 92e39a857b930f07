"""The mapping as a whole, on updates whose gradient is known."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from mapped import gradient, leak_of, simulated, small

import validate_mapping
from gradleak.images import to_float
from gradleak.mapping.errors import MappingError
from gradleak.mapping.settle import settle as settle_block


@pytest.fixture
def normalised(digits):
    """A model with BatchNorm statistics and Dropout between its trainable variables, somewhat trained."""
    model = small(layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.5))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(to_float(digits["pretraining"].x[:64]), digits["pretraining"].y[:64], verbose=0)
    return model


@pytest.mark.parametrize("holds", ["all", "trainable"])
def test_archives_may_hold_statistics_or_leave_them_out(settle, normalised, digits, holds):
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    delta = [-0.1 * g for g in gradient(normalised, x, y)]
    if holds == "all":
        by_variable = {id(v): d for v, d in zip(normalised.trainable_variables, delta, strict=True)}
        before = [w.numpy() for w in normalised.weights]
        delta = [by_variable.get(id(w), np.zeros(w.shape, np.float32)) for w in normalised.weights]
        found = settle([leak_of(normalised, delta, before=before)], scale=0.1)
        for one, other in zip(found.model.weights, normalised.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    else:
        for layer in normalised.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.gamma.assign(np.ones(3))
                layer.beta.assign(np.zeros(3))
                layer.moving_mean.assign(np.zeros(3))
                layer.moving_variance.assign(np.ones(3))
        delta = [-0.1 * g for g in gradient(normalised, x, y)]
        found = settle([leak_of(normalised, delta)], scale=0.1)
        assert any("moving_mean" in note for note in found.report["notes"])
    assert len(found.gradients) == len(normalised.trainable_variables) == 6
    for one, other in zip(found.gradients, gradient(normalised, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(found.layer, [0, 0, 1, 1, 2, 2])


def test_public_images_of_another_size_are_refused(fedsgd):
    _, _, _, leaks = fedsgd
    with pytest.raises(MappingError, match="choose another `dataset`"):
        settle_block(leaks, np.zeros((10, 28, 28, 1), np.float32), np.arange(10))


def test_the_pseudo_gradient_is_the_gradient(fedsgd, settle):
    _, model, made, leaks = fedsgd
    found = settle(leaks)
    for index, draw in enumerate(made):
        expected = gradient(model, to_float(draw.private.x), draw.private.y)
        for one, other in zip(found.gradients, expected, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one[index], other, atol=3e-6)
    for one, other in zip(found.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.samples == 8
    json.dumps(found.report)


def test_public_softmax_rows_are_distributions(fedsgd, settle):
    found = settle(fedsgd[3])
    assert found.public_softmax.shape == (10, 10)
    np.testing.assert_allclose(found.public_softmax.sum(axis=1), 1, rtol=1e-5)


def test_the_softmax_of_a_class_without_public_images_is_the_mean(fedsgd, public):
    x, y = public
    found = settle_block(fedsgd[3], x[y != 3], y[y != 3])
    assert np.isfinite(found.public_softmax).all()


def test_draws_of_unlike_models_are_refused(digits, fedsgd, settle):
    *_, other = simulated(digits, model_seed=1)
    with pytest.raises(MappingError, match="draw 1 starts from other weights"):
        settle([fedsgd[3][0], other[0]])


def test_nothing_is_ever_nan(fedsgd, settle):
    """Of two draws, one is zero."""
    _, model, _, leaks = fedsgd
    zeros = [np.zeros(v.shape, np.float32) for v in model.trainable_variables]
    found = settle([leak_of(model, zeros), leaks[0]], sign="after_minus_before")
    assert all(np.isfinite(g).all() for g in found.gradients)
    assert all(row["ranks"][0] == 0 for row in found.report["ranks"])
    json.dumps(found.report, allow_nan=False)


@pytest.mark.parametrize("sign", ["auto", "after_minus_before"])
def test_a_zero_update_is_called_so(fedsgd, settle, sign):
    model = fedsgd[1]
    zeros = [np.zeros(v.shape, np.float32) for v in model.trainable_variables]
    with pytest.raises(MappingError, match="the update is zero in every entry"):
        settle([leak_of(model, zeros)], sign=sign)


def test_a_model_of_fewer_classes_than_the_public_data_is_refused(public, digits):
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(5)])
    delta = [np.ones(v.shape, np.float32) for v in model.trainable_variables]
    with pytest.raises(MappingError, match="the model has 5 classes, the public data set 10"):
        settle_block([leak_of(model, delta)], *public)


def test_a_model_of_vectors_is_mapped_and_written(settle, digits):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(12, activation="relu"), layers.Dense(10)])
    kept = digits["private"].y < 4
    x, y = to_float(digits["private"].x[kept][:8]), digits["private"].y[kept][:8]
    expected = gradient(model, x.reshape(8, 64), y)
    found = settle([leak_of(model, [-0.1 * g for g in expected])], scale=0.1)
    for one, other in zip(found.gradients, expected, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-6)
    assert validate_mapping.block_of(found, [0]).image_shape == (8, 8, 1)


def test_the_confidence_of_the_scale_is_handed_on(fedsgd, settle):
    _, _, _, leaks = fedsgd
    assert settle(leaks).scale_confidence == 0.9
    assert settle(leaks, scale=0.1).scale_confidence == 1.0
    no_metadata = [type(leak)(leak.model_json, leak.before, leak.delta, {}) for leak in leaks]
    found = settle(no_metadata, samples=8, sign="after_minus_before")
    assert found.scale_confidence == found.report["scale"]["confidence"] < 0.9
