"""Members of a layer that receives dense pixels: colour crops, one step and several, noise, and a control."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras.layers import Conv2D, Dense, Flatten, Rescaling

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack, layer_selection, pixel_inputs, two_sided
from gradleak.attacks.span.dense_layer import dense_layers
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.photo_crops import photo_crops
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float

IMAGES, SIDE, UNITS, RATE = 8, 16, 200, 0.05


@pytest.fixture(scope="module")
def crops():
    """Crops at half their size: private ones, their classes, and public ones."""
    examples = photo_crops()
    x = to_float(examples.x).reshape(-1, SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4))
    order = np.random.default_rng(0).permutation(len(x))
    private, public = order[:IMAGES], order[IMAGES : IMAGES + 200]
    return SimpleNamespace(
        x=x[private], y=examples.y[private], public=x[public], public_labels=examples.y[public]
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = [Rescaling(2.0, -1.0), Flatten(), Dense(UNITS, activation="relu"), Dense(10)]
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])


def update(model, crops, steps=1):
    """The sum of the gradients of ``steps`` local steps, as the difference of float32 weights gives it."""
    local = keras.models.clone_model(model)
    local.set_weights(model.get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    local.compile(keras.optimizers.SGD(RATE), loss)
    local.fit(crops.x, crops.y, batch_size=IMAGES, epochs=steps, shuffle=False, verbose=0)
    pairs = zip(model.get_weights(), local.get_weights(), strict=True)
    return [(before.astype(float) - after) / RATE for before, after in pairs]


def problem(model, crops, gradients, **more):
    given = dict(
        model=model,
        gradients=[g[None] for g in gradients],
        layer=np.array([0, 0, 1, 1]),
        samples=IMAGES,
        seeds=[0],
        counts=None,
        public=crops.public,
        public_labels=crops.public_labels,
        rounding=FLOAT32_ROUNDING / RATE,
        steps=1,
    )
    return Problem(**(given | more))


def errors_of(found, crops):
    """Of each certified image, the mean squared error from the nearest true one and the number of that."""
    images = found.images[0][found.accepted[0]]
    errors = np.square(images[:, None] - crops.x[None]).mean(axis=(2, 3, 4))
    return errors.min(axis=1), errors.argmin(axis=1)


def test_all_images_of_a_dense_layer_come_back_with_their_labels(model, crops):
    found = attack.invert(problem(model, crops, update(model, crops)), SpanOptions())
    errors, nearest = errors_of(found, crops)
    assert sorted(nearest) == list(range(IMAGES))
    assert errors.max() < 1e-4
    assert (found.labels[0][found.accepted[0]] == crops.y[nearest]).all()
    assert found.certificates["samples_estimated"][0] == IMAGES
    assert (found.certificates["expected_psnr"][0][found.accepted[0]] > 40).all()


def test_pixels_do_not_drift_in_several_local_steps(model, crops):
    found = attack.invert(problem(model, crops, update(model, crops, steps=6), steps=6), SpanOptions())
    errors, nearest = errors_of(found, crops)
    assert sorted(nearest) == list(range(IMAGES))
    assert errors.max() < 1e-4
    assert (found.labels[0][found.accepted[0]] == crops.y[nearest]).all()


def test_with_one_delta_missing_the_other_images_are_bounded(model, crops, monkeypatch):
    new = two_sided._new_coordinates

    def one_less(search, known, rough, decoded):
        return new(search, known, rough, decoded)[: IMAGES - 1 - len(known)]

    monkeypatch.setattr(two_sided, "_new_coordinates", one_less)
    found = attack.invert(problem(model, crops, update(model, crops)), SpanOptions())
    errors, nearest = errors_of(found, crops)
    assert len(set(nearest)) == len(nearest) >= IMAGES - 3
    assert errors.max() < 0.01
    assert (errors < 10 ** (-found.certificates["expected_psnr"][0][found.accepted[0]] / 10)).all()
    assert (found.labels[0][found.accepted[0]] == crops.y[nearest]).all()
    assert not found.certificates["samples_estimated"][0], "weights of bounded images prove no N"


def test_under_noise_no_certified_image_is_wrong(model, crops, rng):
    gradients = update(model, crops)
    size = 0.01 * np.sqrt(sum(np.square(g).sum() for g in gradients) / sum(g.size for g in gradients))
    noisy = [g + size * rng.normal(size=g.shape) for g in gradients]
    given = problem(model, crops, noisy, noise=np.full(4, size))
    errors, nearest = errors_of(attack.invert(given, SpanOptions()), crops)
    assert len(set(nearest)) >= IMAGES / 2
    assert errors.max() < 0.01


def test_a_random_gradient_has_no_members(model, crops):
    options = SpanOptions(control="random_gradient")
    assert not attack.invert(problem(model, crops, update(model, crops)), options).accepted.any()


def test_layers_that_receive_pixels_are_told_from_others(crops):
    public = crops.public

    def inputs_of(*layers):
        model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers, Dense(10)])
        return pixel_inputs.pixel_inputs(dense_layers(model, "float64")[0], public)

    scaled = inputs_of(Rescaling(2.0, -1.0), Flatten(), Dense(20, activation="relu"))
    np.testing.assert_allclose(scaled.slope, 2)
    np.testing.assert_allclose(scaled.offset, -1)
    features = np.concatenate([2 * public[:3].reshape(3, -1) - 1, np.ones((3, 1))], axis=1)
    np.testing.assert_allclose(scaled.images(features), public[:3], atol=1e-6)
    assert inputs_of(Conv2D(3, 1), Flatten(), Dense(20, activation="relu")) is None
    assert inputs_of(Flatten(), Dense(20, activation="relu", use_bias=False)) is None


def test_without_a_relu_or_with_two_classes_a_layer_on_pixels_is_not_searched_from_both_sides(crops):
    for activation, classes in (("tanh", 10), ("relu", 2)):
        layers = [Flatten(), Dense(20, activation=activation), Dense(classes)]
        net = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
        assert layer_selection.of_pixels(net, crops.public) is None
