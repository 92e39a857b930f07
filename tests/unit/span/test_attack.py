"""Span inversion as a whole, on small updates without truth; and where it does not apply."""

import numpy as np
import pytest
from span_updates import SHAPE, SMALL, UNITS, problem, shallow, update_of_four

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack, note_kinds, thresholds
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.images import to_float

CONTROL = SMALL | {"control": "random_gradient"}


@pytest.fixture(scope="module")
def four(update, digits, tmp_path_factory):
    """What is found of four images, and the folder with the finished trial."""
    folder = tmp_path_factory.mktemp("four")
    return attack.invert(problem(update, digits), SpanOptions(**SMALL), checkpoint=folder), folder


def test_the_members_of_four_are_recovered_without_n_or_labels(update, four):
    found, _ = four
    images, labels = found.images[0][found.accepted[0]], found.labels[0][found.accepted[0]]
    assert found.certificates["samples_estimated"][0] == 4
    rows, columns = metrics.assign(images, update.x)
    psnr = metrics.psnr(np.mean((images[rows] - update.x[columns]) ** 2, axis=(1, 2, 3)))
    assert len(images) == 4
    assert psnr.min() > 30
    assert labels[rows].tolist() == update.y[columns].tolist()
    assert found.objective[0] < 1e-6  # the whole gradient of the layer is explained
    expected = found.certificates["expected_psnr"][0]
    np.testing.assert_array_equal(np.isfinite(expected), found.accepted[0])  # of members only
    assert np.abs(psnr - expected[found.accepted[0]][rows]).max() < 20


def test_a_gradient_in_place_of_a_delta_shows_the_scale_and_no_n(update, digits):
    """A gradient, divided by a learning rate of 1/20: weights are N/20. Four members, each once; N is not
    said."""
    gradients = [20 * g[None] for g in update.gradients]
    given = problem(update, digits, gradients=gradients, rounding=20 * update.rounding, scale_confidence=0.9)
    found = attack.invert(given, SpanOptions(**SMALL))
    accepted = found.accepted[0]
    errors = metrics.pairwise_mse(found.images[0][accepted], update.x)
    assert sorted(errors.argmin(axis=1)) == [0, 1, 2, 3]
    assert found.labels[0][accepted].tolist() == update.y[errors.argmin(axis=1)].tolist()
    np.testing.assert_allclose(found.certificates["weight"][0][accepted], 4, rtol=1e-3)
    assert found.certificates["samples_estimated"][0] == 0
    ((note,),) = found.notes
    assert note["kind"] == note_kinds.SCALE_CORRECTED
    assert note["factor"] == pytest.approx(20, rel=1e-3)


def test_a_gradient_without_members_gives_none(update, digits):
    found = attack.invert(problem(update, digits), SpanOptions(**CONTROL))
    assert not found.accepted.any()


def test_members_of_several_local_steps_are_labelled_by_the_updated_model(digits):
    update = update_of_four(digits, local_epochs=10)
    steps = update.options.steps
    found = attack.invert(problem(update, digits, steps=steps), SpanOptions(**SMALL))
    images, labels = found.images[0][found.accepted[0]], found.labels[0][found.accepted[0]]
    rows, columns = metrics.assign(images, update.x)
    psnr = metrics.psnr(np.mean((images[rows] - update.x[columns]) ** 2, axis=(1, 2, 3)))
    assert len(images) >= 3
    assert psnr.min() > 20
    assert labels[rows].tolist() == update.y[columns].tolist()
    assert found.certificates["samples_estimated"][0] == 0  # a weight counts steps as well

    control = attack.invert(problem(update, digits, steps=steps), SpanOptions(**CONTROL))
    assert not control.accepted.any()


def test_a_finished_trial_is_not_repeated(update, digits, four):
    first, folder = four
    wrong = problem(update, digits, gradients=[g[None] * 0 for g in update.gradients])
    again = attack.invert(wrong, SpanOptions(**SMALL), checkpoint=folder)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.accepted, again.accepted)
    np.testing.assert_array_equal(first.history, again.history)
    for name, column in first.certificates.items():
        np.testing.assert_array_equal(column, again.certificates[name], err_msg=name)


def test_a_layer_that_receives_only_averages_is_not_applicable(digits):
    """Images in its span need not resemble a member: quite other images have the same averages."""
    import keras
    from keras.layers import Conv2D, Dense, GlobalAveragePooling2D

    keras.utils.set_random_seed(0)
    layers = [
        Conv2D(10, 3, activation="relu"),
        GlobalAveragePooling2D(),
        Dense(32, activation="relu"),
        Dense(10),
    ]
    model, public = keras.Sequential([keras.Input(SHAPE), *layers]), to_float(digits["public"].x)
    gradients = [np.zeros((1, *v.shape), np.float32) for v in model.trainable_variables]
    found = attack.invert(
        Problem(model, gradients, np.zeros(4), 4, [0], None, public, digits["public"].y), SpanOptions(**SMALL)
    )
    assert found.status == ["not applicable"]
    assert "too little to tell images apart" in found.reason


def test_members_of_a_layer_on_pixels_are_found_by_their_rays(update, digits, monkeypatch):
    monkeypatch.setattr(thresholds, "SPARE_UNITS", UNITS)  # too few units for the two-sided search
    found = attack.invert(shallow(digits, update), SpanOptions(**SMALL))
    accepted = found.accepted[0]
    errors = metrics.pairwise_mse(found.images[0][accepted], update.x)
    assert sorted(errors.argmin(axis=1)) == [0, 1, 2, 3]
    assert errors.min(axis=1).max() < 1e-3  # over seeds the worst image has 34 to 50 dB
    assert (found.labels[0][accepted] == update.y[errors.argmin(axis=1)]).all()
    assert found.certificates["samples_estimated"] == 4


def test_a_layer_on_pixels_gives_no_false_positives(update, digits):
    given = shallow(digits, update)
    without_rays = attack.invert(given, SpanOptions(**SMALL | {"rays": 0}))
    assert not without_rays.accepted.any()  # no image is moved into the span
    assert not attack.invert(given, SpanOptions(**CONTROL)).accepted.any()


def test_a_model_without_a_dense_layer_is_not_applicable(digits):
    import keras

    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(10, 3), keras.layers.GlobalAveragePooling2D()]
    )
    gradients = [np.zeros((1, *v.shape), np.float32) for v in model.trainable_variables]
    given = Problem(
        model, gradients, np.zeros(2), 4, [0], None, to_float(digits["public"].x), digits["public"].y
    )
    found = attack.invert(given, SpanOptions(**SMALL))
    assert found.status == ["not applicable"]
    assert "dense layer" in found.reason
