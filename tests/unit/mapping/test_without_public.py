"""The mapping where there are no public images: what the files show is found, everything else abstains."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import gradient, leak_of, simulated, small

from gradleak.images import to_float
from gradleak.mapping import preflight
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError
from gradleak.mapping.settle import settle
from gradleak.mapping.sign import Entries, sign_evidence
from gradleak.mapping.without_public import is_trained, look_at_noise

RATE = 0.1


def net(*stack, shape=(8, 8, 1)):
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input(shape), *stack])


def client(model, x, y, direction=-1.0, **meta):
    """The leak of one step on x, y."""
    delta = [np.float32(direction * RATE) * g for g in gradient(model, x, y)]
    return leak_of(model, delta, {"samples": len(y), **meta})


@pytest.mark.parametrize(("direction", "sign"), [(-1, "after_minus_before"), (1, "before_minus_after")])
@pytest.mark.parametrize("empty", [None, np.zeros((0, 8, 8, 1), np.float32)], ids=["none", "empty"])
def test_an_untrained_model_is_mapped_by_its_columns(digits, direction, sign, empty):
    last = layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02))
    model = net(layers.Flatten(), layers.Dense(40, activation="relu"), last)
    x, y = to_float(digits["private"].x[:4]), digits["private"].y[:4]
    labels = None if empty is None else np.zeros(0, int)
    found = settle([client(model, x, y, direction)], empty, labels)
    assert found.report["sign"]["value"] == sign
    assert found.report["weights"]["value"] == "untrained"
    assert found.report["scale"]["value"] == pytest.approx(RATE, rel=0.2)
    assert found.report["scale"]["confidence"] < 0.6  # what public images would give it
    assert found.report["smoothing"]["value"] is None
    for finding in ("sign", "scale", "weights"):
        assert "there are no public images" in found.report[finding]["evidence"]
    assert found.public_softmax.shape == (10, 10)
    factor = RATE / found.report["scale"]["value"]
    for one, other in zip(found.gradients, gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one[0], factor * other, atol=1e-5)
    json.dumps(found.report)


def trained(digits):
    _, model, _, _ = simulated(digits, draws=[0], pretrain_epochs=3)
    return model


def test_labels_may_be_smoothed_on_a_trained_model_so_equal_columns_are_no_sign(digits):
    """Smoothed labels turn the columns of absent classes around: by themselves they show the wrong sign."""
    model, x, y = trained(digits), to_float(digits["private"].x), digits["private"].y
    few = np.flatnonzero(y < 2)[:8]
    hard = settle([client(model, x[few], y[few])], None, None).report["sign"]
    assert (hard["value"], hard["confidence"] < 0.8) == ("after_minus_before", True)
    soft = np.eye(10)[y[few]] * 0.7 + 0.03
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(soft, model(x[few]), from_logits=True))
    delta = [-RATE * g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    with pytest.raises(MappingError, match=r"there are no public images.*set `sign`"):
        settle([leak_of(model, delta)], None, None)
    found = settle([leak_of(model, delta)], None, None, UserClaims(sign="after_minus_before"))
    assert found.report["weights"]["value"] == "trained"
    assert found.report["scale"]["estimate"] is None


def test_one_image_shows_the_sign_of_a_trained_model_and_its_smoothing(digits):
    model = trained(digits)
    found = settle([client(model, to_float(digits["private"].x[:1]), digits["private"].y[:1])], None, None)
    assert found.report["sign"]["value"] == "after_minus_before"
    assert found.report["sign"]["confidence"] > 0.9
    assert found.report["smoothing"]["value"] == 0


KINDS = {
    "relu": (True, True, [layers.Flatten(), layers.Dense(30, activation="relu")]),
    "relu, pooled": (True, True, [layers.Conv2D(8, 3), layers.ReLU(), layers.GlobalMaxPooling2D()]),
    "sigmoid": (True, False, [layers.Flatten(), layers.Dense(30, activation="sigmoid")]),
    "pixels": (True, False, [layers.Flatten()]),
    "tanh": (False, False, [layers.Flatten(), layers.Dense(30, activation="tanh")]),
    "linear": (False, False, [layers.Flatten(), layers.Dense(1, kernel_initializer="ones")]),
    "leaky": (False, False, [layers.Flatten(), layers.Dense(30), layers.LeakyReLU()]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_never_negative_where_the_graph_says_so(kind):
    """Not because they happen to be positive on some images, as those of one unit with positive weights."""
    positive, sparse, stack = KINDS[kind]
    public = look_at_noise(net(*[type(one).from_config(one.get_config()) for one in stack], layers.Dense(10)))
    assert (public.positive, public.sparse) == (positive, sparse)


def test_weights_show_whether_a_model_was_trained():
    model = small()
    assert is_trained(model) is False
    model.layers[-1].bias.assign(np.linspace(-1, 1, 10))
    assert is_trained(model) is True
    model.layers[-1].bias.assign(np.linspace(-1e-4, 1e-4, 10))
    assert is_trained(model) is None
    assert is_trained(net(layers.Flatten(), layers.Dense(10, use_bias=False))) is None


def test_a_model_that_may_be_trained_has_poor_prospects_of_labels(digits):
    update = preflight.Update([], 1000, 64, 4, "sgd", 1, 0.0, True, None)
    (labels, *_) = preflight.prospects(update)
    assert (labels["expect"], "without public images" in labels["why"]) == ("poor", True)
    (known, *_) = preflight.prospects(replace(update, is_trained=False))
    assert known["expect"] == "good"


def test_probabilities_of_noise_count_only_where_all_noise_has_the_same(rng):
    """Of features that are never zero, the biases of absent classes show the sign by the probabilities."""
    model = net(layers.Flatten(), layers.Dense(30, activation="sigmoid"), layers.Dense(10))
    public = look_at_noise(model)
    assert public.is_flat
    leak = client(model, rng.uniform(size=(4, 8, 8, 1)).astype(np.float32), np.array([1, 1, 2, 2]))
    deltas = [np.asarray(part)[None] for part in leak.delta.values()]
    assert sign_evidence(deltas, public, Entries(samples=4)).value == "after_minus_before"
    uneven = replace(public, is_flat=False, is_trained=None)
    assert sign_evidence(deltas, uneven, Entries()).value is None


def test_present_classes_are_not_taken_for_absent_ones_where_features_are_never_zero(rng):
    """Eight images of eight classes: their columns have one sign, too, and their biases are equal."""
    model = net(layers.Flatten(), layers.Dense(30, activation="sigmoid"), layers.Dense(10))
    leak = client(model, rng.uniform(size=(8, 8, 8, 1)).astype(np.float32), np.arange(8))
    deltas = [np.asarray(part)[None] for part in leak.delta.values()]
    found = sign_evidence(deltas, look_at_noise(model), Entries(samples=8))
    assert found.value in (None, "after_minus_before")


SIZES = {
    "2 classes": ((8, 8, 1), 2, 1),
    "62 classes": ((8, 8, 1), 62, 8),
    "100 classes": ((8, 8, 3), 100, 8),
    "5 classes, 64×48 in colour": ((64, 48, 3), 5, 2),
    "a vector of 14": ((14,), 2, 1),
    "a signal": ((40, 2), 6, 2),
}


@pytest.mark.parametrize("name", SIZES)
def test_any_shape_and_number_of_classes_is_mapped(name, rng):
    shape, classes, images = SIZES[name]
    first = [layers.Conv1D(6, 3, activation="relu")] if len(shape) == 2 else []
    hidden = [*first, layers.Flatten(), layers.Dense(32, activation="relu")]
    model = net(*hidden, layers.Dense(classes, activation="softmax"), shape=shape)
    x, y = rng.uniform(size=(images, *shape)).astype(np.float32), rng.integers(0, min(classes, 3), images)
    logits, _ = logits_model(model.to_json())
    logits.set_weights(model.get_weights())
    expected = gradient(logits, x.reshape(images, *logits.input_shape[1:]), y)
    leak = leak_of(model, [-RATE * g for g in expected], {"samples": images, "learning_rate": RATE})
    if classes == 2:  # whose columns are opposite: a swap of the labels is a swap of the sign
        with pytest.raises(MappingError, match="set `sign`"):
            settle([leak], None, None)
        leak.meta["sign"] = "after_minus_before"
    found = settle([leak], None, None)
    assert found.report["sign"]["value"] == "after_minus_before"
    assert found.public_softmax.shape == (classes, classes)
    for one, other in zip(found.gradients, expected, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-6)
