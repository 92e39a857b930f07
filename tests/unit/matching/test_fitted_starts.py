"""The closed form of a dense layer's input, the images fitted to it, and DLG from there."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from gradleak.attacks.matching import dlg, fitted_starts
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Problem
from gradleak.errors import UserError
from gradleak.gradients.matcher import build_matcher
from gradleak.images import to_float
from gradleak.optim.minimise import LoopSettings

TRIALS = 3
QUICK = (  # the features of these nets determine the image, so that few steps are enough
    (1e-5, LoopSettings(steps=30, learning_rate=0.03, polish_steps=60)),
    (0.0, LoopSettings(steps=1, learning_rate=1e-5, polish_steps=150)),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fitted_starts, "STAGES", QUICK)


def net(*stack):
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((8, 8, 1)), *stack])


@pytest.fixture(scope="module")
def model():
    """Its unit convolution leaves as many features as there are pixels."""
    return net(
        layers.Conv2D(4, 3, padding="same", activation="sigmoid"),
        layers.Flatten(),
        layers.Dense(20, activation="relu"),
        layers.Dense(10),
    )


@pytest.fixture
def problem_of(digits):
    def make(model, images=1, **changes):
        private, public = digits["private"], digits["public"]
        x = to_float(private.x[: TRIALS * images]).reshape(TRIALS, images, 8, 8, 1)
        y = private.y[: TRIALS * images].reshape(TRIALS, images)
        leaked = build_matcher(model).gradients(x, np.eye(10, dtype=np.float32)[y])
        counts = np.stack([np.bincount(row, minlength=10) for row in y])
        layer = np.arange(len(leaked)) // 2
        others = to_float(public.x[:100]), public.y[:100]
        problem = Problem(model, [g.numpy() for g in leaked], layer, images, [0, 1, 2], counts, *others)
        return replace(problem, **changes), x

    return make


OPTIONS = DlgOptions(init="features", tv=0, loss="l2_global", steps=1, learning_rate=1e-5, polish_steps=100)


def test_the_quotient_of_the_gradients_is_the_layers_input(model, problem_of):
    problem, x = problem_of(model)
    inner = keras.Model(model.inputs, model.layers[2].input)
    found = fitted_starts.leaked_feature(problem.gradients[2], problem.gradients[3])
    np.testing.assert_allclose(found, inner.predict_on_batch(x[:, 0]), atol=1e-5)


def test_a_gradient_of_zeros_has_no_feature_and_is_no_error():
    assert not fitted_starts.leaked_feature(np.zeros((2, 5, 3)), np.zeros((2, 3))).any()


def test_images_are_recovered_and_dlg_goes_on_from_them(model, problem_of):
    problem, x = problem_of(model)
    start = fitted_starts.fitted_images(model, problem.gradients, problem.public, np.zeros(TRIALS, int))
    assert start.shape == x[:, 0].shape
    assert np.mean((start - x[:, 0]) ** 2) < 1e-5
    found = dlg.invert(problem, OPTIONS)
    assert np.mean((found.images - x) ** 2) < 1e-6
    assert np.mean((problem.public[:TRIALS] - x[:, 0]) ** 2) > 1e-2


def test_a_trial_is_the_same_alone(model, problem_of):
    problem, _ = problem_of(model)
    alone = [g[1:2] for g in problem.gradients]
    skip = np.zeros(TRIALS, int)
    block = fitted_starts.fitted_images(model, problem.gradients, problem.public, skip)
    np.testing.assert_allclose(
        block[1:2], fitted_starts.fitted_images(model, alone, problem.public, skip[:1]), atol=1e-3
    )


def test_the_control_gets_nothing_of_the_leak(model, problem_of):
    problem, x = problem_of(model)
    found = dlg.invert(problem, OPTIONS.model_copy(update={"control": "random_gradient"}))
    assert np.mean((found.images - x) ** 2) > 1e-2


def test_several_images_are_refused(model, problem_of):
    problem, _ = problem_of(model, images=2)
    with pytest.raises(UserError, match="one image"):
        dlg.invert(problem, OPTIONS)


def test_a_net_without_a_fitting_dense_layer_is_refused(problem_of):
    model = net(layers.Dense(3), layers.Flatten(), layers.Dense(10, use_bias=False))
    problem, _ = problem_of(model)
    with pytest.raises(UserError, match="dense layer"):
        dlg.invert(problem, OPTIONS)


FEW = DlgOptions(steps=2)


def test_one_image_is_matched_once_more_from_the_fitted_image(model, problem_of):
    problem, x = problem_of(model)
    found = dlg.invert(problem, FEW)
    from_noise = dlg.invert(problem, FEW.model_copy(update={"init": "uniform"}))
    assert np.square(found.images - x).mean() < 1e-5
    assert np.square(from_noise.images - x).mean() > 1e-2
    assert (found.objective < 1e-6).all()  # the squared distance, relative


@pytest.mark.parametrize(
    ("images", "changes"),
    [
        (2, {}),
        (1, {"steps": 3}),
        (1, {"noise": np.full(6, 1e-3)}),
        (1, {"public": np.zeros((0, 8, 8, 1), np.float32), "public_labels": np.zeros(0, int)}),
    ],
    ids=["several images", "several steps", "noise", "no public images"],
)
def test_other_updates_are_matched_from_noise_alone(model, problem_of, images, changes):
    problem, _ = problem_of(model, images, **changes)
    found, from_noise = (dlg.invert(problem, FEW.model_copy(update={"init": i})) for i in ("auto", "uniform"))
    np.testing.assert_array_equal(found.images, from_noise.images)


def test_a_net_without_a_dense_layer_that_fits_is_matched_from_noise(problem_of):
    problem, _ = problem_of(net(layers.Dense(3), layers.Flatten(), layers.Dense(10, use_bias=False)))
    assert dlg.invert(problem, FEW).status == ["ok"] * TRIALS


def test_more_starts_never_change_the_first_and_never_do_worse(model, problem_of):
    problem, _ = problem_of(model)
    one, three = (DlgOptions(init="uniform", steps=20, starts=n) for n in (1, 3))
    few, many = dlg.start_images(problem, one), dlg.start_images(problem.repeat(3), three)
    np.testing.assert_array_equal(few, many[::3])
    assert not np.array_equal(many[0], many[1])
    assert (dlg.invert(problem, three).objective <= dlg.invert(problem, one).objective * (1 + 1e-4)).all()


def test_unseen_pixels_are_filled_where_asked_for(problem_of):
    model = net(
        layers.Conv2D(4, 2, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(10)
    )
    problem, _ = problem_of(model)
    plain, filled = (
        dlg.invert(problem, DlgOptions(init="uniform", steps=5, fill_outside_receptive_field=fill)).images
        for fill in (False, True)
    )
    np.testing.assert_array_equal(plain[:, :, :7, :7], filled[:, :, :7, :7])
    assert np.abs(plain - filled)[:, :, 7].mean() > 0.1


def test_public_images_may_be_of_any_number(model):
    """Images go through the model in parts of 500; the last part may be smaller."""
    matcher = build_matcher(model)
    kernel, _ = fitted_starts._dense_layer(matcher, np.zeros((1, 8, 8, 1), np.float32))
    public = np.random.default_rng(0).random((501, 8, 8, 1), np.float32)
    feature = fitted_starts._feature(matcher, kernel)
    wanted = feature(public[[500, 3]]).numpy()
    np.testing.assert_array_equal(fitted_starts._nearest(feature, wanted, public)[:, 0], [500, 3])
