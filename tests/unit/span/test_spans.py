"""Span inversion: the layer, its span, the certificates and rules, and a small update taken apart without any truth."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import (
    attack,
    feature_inversion,
    layer_selection,
    membership,
    sparse_rays,
    subspace,
)
from gradleak.attacks.span.certificates import certify, chosen, judge, of
from gradleak.attacks.span.dense_layer import hosts
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.federated import client, datasets
from gradleak.federated.models import build
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def pools():
    return datasets.split("digits-8x8", datasets.load("digits-8x8", None))


@pytest.fixture(scope="module")
def update(pools):
    """fcn3, four images, one step: model, gradients, images, labels, rounding."""
    options = ClientOptions(dataset="digits-8x8", model="fcn3", batch_size=4, pretrain_epochs=1)
    model = client.global_model(options, pools["pretraining"])
    (draw,) = client.simulate(options, model, pools["private"], [0])
    gradients = [-part / np.float32(options.learning_rate) for part in draw.delta]
    rounding = FLOAT32_ROUNDING / options.learning_rate
    return SimpleNamespace(
        model=model, gradients=gradients, x=to_float(draw.private.x), y=draw.private.y, rounding=rounding
    )


def host_of(model, dtype="float64"):
    """The widest layer behind a nonlinear one."""
    images = np.random.default_rng(0).uniform(0, 1, (8, *model.input_shape[1:]))
    return next(host for host in hosts(model, dtype) if host.bends(images))


def noise_of(host, rounding):
    return rounding * np.sqrt(np.mean(host.weights**2)) * sum(np.sqrt(host.weights.shape))


def problem(update, pools, **more):
    public = to_float(pools["public"].x)
    given = dict(
        model=update.model,
        gradients=[g[None] for g in update.gradients],
        layer=np.arange(len(update.gradients)),
        samples=99,
        seeds=[0],
        counts=None,
        public=public,
        public_labels=pools["public"].y,
        rounding=update.rounding,
    )
    return Problem(**(given | more))


# --- the layer ------------------------------------------------------------------------------------------------------


def test_hosts_are_the_dense_layers_that_everything_passes_through_widest_first():
    assert [host.weights.shape for host in hosts(build("fcn3", SHAPE, 0))] == [
        (64, 300),
        (300, 300),
        (300, 10),
    ]
    assert [host.weights.shape[1] for host in hosts(build("cnn7", (28, 28, 1), 0))] == [128, 10]


def test_a_layer_on_the_pixels_themselves_does_not_bend_and_one_behind_a_relu_does():
    images = np.random.default_rng(0).uniform(0, 1, (8, *SHAPE))
    first, second, _ = hosts(build("fcn3", SHAPE, 0))
    assert not first.bends(images)
    assert second.bends(images)


def test_features_and_signals_multiply_to_the_gradient(update):
    host = host_of(update.model)
    features = host.features(update.x.astype(float)).numpy()
    signals = host.signals(features)[np.arange(4), update.y]
    expected = features.T @ signals / 4
    got = host.gradient(update.gradients)
    assert np.abs(got - expected).max() < 20 * noise_of(host, update.rounding)
    np.testing.assert_allclose(host.signal(features, update.y), signals, rtol=1e-10, atol=1e-14)


# --- the span -------------------------------------------------------------------------------------------------------


def mean_of_outer(rng, members=5, inputs=40, outputs=20):
    features, signals = rng.normal(size=(members, inputs)), rng.normal(size=(members, outputs))
    return features, signals, features.T @ signals / members


def test_members_are_in_the_span_and_others_are_not(rng):
    features, _, matrix = mean_of_outer(rng)
    whole = subspace.of_matrix(matrix, 1e-9)
    assert whole.rank == 5
    assert whole.residual(features).max() < 1e-12
    assert whole.residual(rng.normal(size=(50, 40))).min() > 0.1


def test_rho_is_the_least_of_misfit_and_noise(rng):
    _, _, matrix = mean_of_outer(rng)
    whole, vector = subspace.of_matrix(matrix, 0.3), rng.normal(size=40)
    a = whole.coefficients(vector[None])[0]

    def charged(a):
        return np.sum((vector - matrix @ a) ** 2) + 0.3**2 * np.sum(a**2)

    assert all(charged(a) <= charged(a + 1e-3 * rng.normal(size=20)) for _ in range(20))
    assert whole.residual(vector[None])[0] * np.sum(vector**2) == pytest.approx(
        np.sum((vector - whole.left * whole.gain @ whole.left.T @ vector) ** 2)
    )


def test_a_member_taken_out_lowers_the_rank_by_one_and_leaves_the_others(rng):
    features, signals, matrix = mean_of_outer(rng)
    left = subspace.of_matrix(subspace.without(matrix, signals[:2]), 1e-9)
    assert left.rank == 3
    assert left.residual(features[2:]).max() < 1e-12
    assert left.residual(features[:2]).min() > 1e-3


def test_what_is_left_out_does_not_count_in_rho(rng):
    features, _, matrix = mean_of_outer(rng)
    whole = subspace.of_matrix(matrix, 1e-9)
    copy = features[:1] + 1e-3 * rng.normal(size=(1, 40))
    assert whole.residual(copy)[0] < 1e-4
    assert whole.residual(copy, subspace.basis(features[:1]))[0] > 0.1
    assert whole.residual(features[1:2], subspace.basis(features[:1]))[0] < 1e-12


# --- the cone -------------------------------------------------------------------------------------------------------


def sparse_members(rng, members=6, inputs=200, outputs=20):
    """Nonnegative features, half of them zero, and the gradient that they make with random signals."""
    features = np.maximum(rng.normal(size=(members, inputs)), 0)
    features[:, -1] = 1  # the bias's row
    return features, features.T @ rng.normal(size=(members, outputs)) / members


def test_the_rays_of_the_cone_are_the_members(rng):
    features, matrix = sparse_members(rng)
    found = sparse_rays.rays(subspace.of_matrix(matrix, 1e-9), 40, np.random.default_rng(0))
    cosines = found @ (features / np.linalg.norm(features, axis=1, keepdims=True)).T
    assert len(found) == 6
    assert sorted(cosines.argmax(axis=1)) == list(range(6))
    assert cosines.max(axis=1).min() > 1 - 1e-8


def test_rays_bear_noise_and_inputs_that_no_member_has(rng):
    features, matrix = sparse_members(rng)
    dead = np.concatenate([np.zeros((100, 20)), matrix])
    noisy = dead + 1e-6 * rng.normal(size=dead.shape)
    noise = 1e-6 * (np.sqrt(300) + np.sqrt(20))
    found = sparse_rays.rays(subspace.of_matrix(noisy, noise), 40, np.random.default_rng(0))
    padded = np.pad(features, ((0, 0), (100, 0)))
    cosines = found @ (padded / np.linalg.norm(padded, axis=1, keepdims=True)).T
    assert (cosines.max(axis=0) > 1 - 1e-5).all()


def test_a_ray_is_a_solution_of_the_linear_program(rng):
    """Against scipy's own solver, on a cone of dense vectors."""
    from scipy.optimize import linprog

    rows = rng.uniform(0, 1, size=(30, 4))
    held = rows[0] / np.linalg.norm(rows[0])
    program = sparse_rays._Program(rows)
    program.hold(held)
    got = program.least(rows.sum(axis=0), 0.0)
    expected = linprog(
        rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(30), A_eq=held[None], b_eq=[1], bounds=(None, None)
    ).x
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-7)


def test_a_span_of_nothing_but_noise_has_no_rays(rng):
    matrix = 1e-6 * rng.normal(size=(200, 20))
    assert (
        len(sparse_rays.rays(subspace.of_matrix(matrix, 1e-6 * (np.sqrt(200) + np.sqrt(20))), 20, rng)) == 0
    )


# --- certificates and rules -----------------------------------------------------------------------------------------


def test_members_weigh_n_and_tell_their_label_and_public_images_do_not(update, pools):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    members = certify(host, whole, update.x)
    assert members.label.tolist() == update.y.tolist()
    assert membership.samples(members, one_step=True) == membership.samples(members, one_step=False) == 4
    assert membership.members(members, 4).all()
    others = certify(host, whole, to_float(pools["public"].x))
    assert not membership.members(others, 4).any()
    assert membership.samples(others, one_step=True) == 0


def test_where_no_image_is_beyond_doubt_two_unlike_ones_must_agree_on_n(update):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    exact = certify(host, whole, update.x)

    def judged(images: list[int], weights: list[float], normalised_residual: float = 20.0):
        return dataclasses.replace(
            of(exact, images),
            weight=np.array(weights),
            normalised_residual=np.full(len(images), normalised_residual),
        )

    assert membership.samples(judged([0, 1, 2], [4.1, 3.8, 5.0]), one_step=True) == 4
    assert membership.samples(judged([0, 1, 2], [4.1, 3.8, 5.0]), one_step=False) == 0
    assert (
        membership.samples(judged([0, 0, 1], [4.1, 4.1, 5.0]), one_step=True) == 0
    )  # a copy is no second image
    assert membership.samples(judged([0, 1], [4.1, 3.8], normalised_residual=200.0), one_step=True) == 0
    unclear = dataclasses.replace(judged([0, 1], [4.1, 3.8]), label_margin=np.array([200.0, 5.0]))
    assert membership.samples(unclear, one_step=True) == 0
    one_beyond_doubt = dataclasses.replace(
        judged([0, 1, 2], [4.1, 3.8, 5.0]), normalised_residual=np.array([20.0, 20.0, 1.0])
    )
    assert membership.samples(one_beyond_doubt, one_step=True) == 5


def test_features_are_judged_without_their_images(update):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    features = host.features(update.x.astype(float)).numpy()
    judged = judge(
        host, whole, np.concatenate([features, features[:1], features[:2].mean(axis=0, keepdims=True)])
    )
    assert sorted(membership.likely(judged, 0, features[:0])) in (
        [0, 1, 2, 3],
        [1, 2, 3, 4],
    )  # 4 is a copy of 0
    assert sorted(membership.likely(judged, 4, features[1:])) in ([0], [4])


def test_a_better_image_of_a_member_is_known_as_such(update):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    blurred = np.clip(update.x[1:2] + 0.01, 0, 1)
    judged = certify(host, whole, np.concatenate([update.x[[0, 2, 3]], blurred, update.x[1:2]]))
    assert membership.same(judged, 4, [0, 1, 3]) == 2
    assert membership.same(judged, 4, [0, 1, 2]) is None
    relabelled = dataclasses.replace(judged, label=np.array([*judged.label[:3], 9, judged.label[4]]))
    assert membership.same(relabelled, 4, [0, 1, 3]) is None
    assert membership.same(relabelled, 4, [0, 1, 3], labels=False) == 2


def test_one_member_counts_once_however_often_it_was_found(update):
    host = host_of(update.model)
    matrix, noise = host.gradient(update.gradients), noise_of(host, update.rounding)
    judged = certify(host, subspace.of_matrix(matrix, noise), update.x[[0, 1, 0, 2]])
    nobody = np.zeros((0, matrix.shape[0])), np.zeros((0, matrix.shape[1]))
    assert membership.one_by_one(matrix, noise, 4, judged, range(4), *nobody) == [0, 1, 3]
    known = judged.feature[:1], judged.signal[:1]
    assert membership.one_by_one(matrix, noise, 4, judged, range(4), *known) == [1, 3]


def test_a_blurred_copy_of_a_known_member_is_nobody_and_a_twin_is(update):
    """A copy that is not quite sharp leaves some of its member behind, which another copy must not be taken for."""
    host = host_of(update.model)
    twin = np.clip(update.x[:1] + 0.02 * np.random.default_rng(1).uniform(0, 1, update.x[:1].shape), 0, 1)
    images, labels = np.concatenate([update.x, twin]).astype(float), np.append(update.y, update.y[0])
    features = host.features(images).numpy()
    signals = host.signals(features)[np.arange(5), labels]
    matrix, noise = features.T @ signals / 5, 1e-9
    whole = subspace.of_matrix(matrix, noise)
    cosine = features[0] @ features[4] / np.linalg.norm(features[0]) / np.linalg.norm(features[4])
    assert cosine > 0.99
    both = certify(host, whole, images)
    assert membership.one_by_one(matrix, noise, 5, both, range(5), features[:0], signals[:0]) == list(
        range(5)
    )

    alone = features[:4].T @ signals[:4] / 4
    nearly = certify(host, subspace.of_matrix(alone, noise), np.clip(images[:4] + 1e-5, 0, 1))
    sharp = certify(host, subspace.of_matrix(alone, noise), images[:4])
    assert membership.one_by_one(alone, noise, 4, sharp, range(4), nearly.feature[:1], nearly.signal[:1]) == [
        1,
        2,
        3,
    ]


def test_a_feature_is_unlike_all_known_ones_or_like_one():
    known = np.eye(3)[:2]
    vectors = np.array([[2.0, 0, 0], [0.1, 1, 0], [1, 1, 0], [0, 0, 5]])
    assert membership.unlike(vectors, known).tolist() == [False, False, True, True]


def test_near_members_lie_fourfold_deeper_than_the_control_and_each_counts_once(update, pools):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    judged = certify(host, whole, np.concatenate([update.x, update.x[:1], to_float(pools["public"].x[:4])]))
    least = judged.residual[5:].min()
    assert membership.near_members(judged, least).tolist() == 5 * [True] + 4 * [False]
    assert not membership.near_members(judged, 4 * judged.residual[:5].min()).any()
    assert membership.certified_near(np.array([0.16, 0.17, 0.24]), 1.0).tolist() == [True, False, False]
    nobody = np.zeros((0, judged.feature.shape[1]))
    assert membership.apart(judged, range(5), nobody) == [0, 1, 2, 3]
    assert membership.apart(judged, range(5), judged.feature[2:3]) == [0, 1, 3]
    assert membership.near_apart(judged, whole, range(5), nobody, least) == [0, 1, 2, 3]
    assert membership.near_apart(judged, whole, range(5), judged.feature[2:3], least) == [0, 1, 3]


def test_a_near_member_may_look_like_another_where_the_difference_is_in_the_span_too(rng):
    features = np.abs(rng.normal(size=(3, 40)))
    features[1] = features[0] + 0.1 * features[1]  # a twin
    whole = subspace.of_matrix(features.T @ rng.normal(size=(3, 12)), 1e-9)
    copy = features[0] + 0.003 * rng.normal(size=40)
    seen = SimpleNamespace(feature=np.stack([features[0], copy, features[1]]))
    assert not membership.unlike(seen.feature[1:], features[:1]).any()
    assert whole.residual(copy[None])[0] < 1e-4
    assert membership.near_apart(seen, whole, [0, 1, 2], np.zeros((0, 40)), 4e-4) == [0, 2]


def test_an_unclear_label_is_the_models_answer_if_it_is_right_of_those_that_are_clear(update):
    host = host_of(update.model)
    span = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    found = certify(host, span, update.x)
    np.testing.assert_array_equal(found.answer, update.model.predict(update.x, verbose=0).argmax(axis=1))
    wrong = (update.y + 1) % 10
    for margin, expected in ((1.1, found.answer), (1e4, wrong)):
        read = dataclasses.replace(found, label=wrong, label_margin=np.full(len(wrong), margin))
        np.testing.assert_array_equal(membership.near_labels(read, []), expected)
    unclear = dataclasses.replace(found, label_margin=np.full(len(wrong), 1.1))
    for right, expected in ((3, found.answer), (2, unclear.label)):
        unclear.label[:] = np.where(np.arange(4) < right, found.answer, (found.answer + 1) % 10)
        np.testing.assert_array_equal(membership.near_labels(unclear, [0, 1, 2, 3]), expected)


def test_of_two_judgements_each_image_keeps_its_own(update):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    one, other = certify(host, whole, update.x[:2]), certify(host, whole, update.x[2:])
    mixed = chosen(np.array([False, True]), one, other)
    assert mixed.residual.tolist() == [other.residual[0], one.residual[1]]
    np.testing.assert_array_equal(mixed.signal, [other.signal[0], one.signal[1]])


def test_images_are_sharpened_until_feature_and_signal_fit(update):
    host = host_of(update.model)
    whole = subspace.of_matrix(host.gradient(update.gradients), noise_of(host, update.rounding))
    blurred = np.clip(update.x + np.random.default_rng(0).normal(0, 0.001, update.x.shape), 0, 1)
    before = certify(host, whole, blurred)
    after = certify(host, whole, feature_inversion.sharpened(host, whole, update.y, blurred, 400))
    assert before.normalised_residual.min() > 9
    assert np.sort(after.normalised_residual)[:3].max() < 2  # one of the four is held up by its units' kinks
    assert np.sort(after.label_normalised_residual)[:3].max() < 2


# --- the attack -----------------------------------------------------------------------------------------------------

SMALL = {"starts": 64, "rounds": 6, "copies": 2}


def test_an_update_of_four_is_taken_apart_without_its_n_or_its_labels(update, pools):
    found = attack.invert(problem(update, pools), SpanOptions(**SMALL))
    images, labels = found.images[0][found.accepted[0]], found.labels[0][found.accepted[0]]
    assert found.certificates["samples_estimated"][0] == 4
    rows, columns = metrics.assign(images, update.x)
    psnr = metrics.psnr(np.mean((images[rows] - update.x[columns]) ** 2, axis=(1, 2, 3)))
    assert len(images) == 4
    assert psnr.min() > 30
    assert labels[rows].tolist() == update.y[columns].tolist()
    assert found.objective[0] < 1e-6  # nothing of the layer's gradient is left
    expected = found.certificates["expected_psnr"][0]
    np.testing.assert_array_equal(np.isfinite(expected), found.accepted[0])  # of others nothing is expected
    assert np.abs(psnr - expected[found.accepted[0]][rows]).max() < 20


def test_in_a_gradient_that_holds_nobody_nobody_is_found(update, pools):
    found = attack.invert(problem(update, pools), SpanOptions(control="random_gradient", **SMALL))
    assert not found.accepted.any()


def test_several_local_steps_are_taken_apart_and_labelled_by_the_model_sent_back(pools):
    options = ClientOptions(
        dataset="digits-8x8", model="fcn3", batch_size=4, pretrain_epochs=1, local_epochs=10
    )
    model = client.global_model(options, pools["pretraining"])
    (draw,) = client.simulate(options, model, pools["private"], [0])
    scale = np.float32(options.learning_rate * options.steps)
    update = SimpleNamespace(
        model=model,
        gradients=[-part / scale for part in draw.delta],
        rounding=FLOAT32_ROUNDING / float(scale),
    )
    found = attack.invert(problem(update, pools, steps=options.steps), SpanOptions(**SMALL))
    images, labels = found.images[0][found.accepted[0]], found.labels[0][found.accepted[0]]
    rows, columns = metrics.assign(images, to_float(draw.private.x))
    psnr = metrics.psnr(np.mean((images[rows] - to_float(draw.private.x)[columns]) ** 2, axis=(1, 2, 3)))
    assert len(images) >= 3
    assert psnr.min() > 20
    assert labels[rows].tolist() == draw.private.y[columns].tolist()
    assert found.certificates["samples_estimated"][0] == 0  # a weight counts steps as well

    control = attack.invert(
        problem(update, pools, steps=options.steps), SpanOptions(control="random_gradient", **SMALL)
    )
    assert not control.accepted.any()


@pytest.mark.parametrize(("factor", "believed"), [(0.01, True), (-2.0, False)])
def test_a_model_that_collapsed_while_it_learnt_labels_nobody(update, pools, factor, believed):
    """The client's steps multiplied the last layer's weights by 1 + ``factor`` and a believed one's moved its first bias."""
    *_, kernel, bias = update.model.get_weights()
    moved = [np.zeros_like(weights) for weights in update.model.get_weights()[:-2]]
    favoured = np.eye(10, dtype=np.float32)[0] * believed
    steps = [*moved, factor * kernel, factor * bias + favoured]
    scale = FLOAT32_ROUNDING / update.rounding
    given = problem(update, pools, gradients=[-part[None] / np.float32(scale) for part in steps])
    public = to_float(pools["public"].x)
    before = update.model.predict(public, verbose=0)
    after = before * (1 + factor) + favoured
    expected = (after if believed else before).argmax(axis=1)
    assert (before.argmax(axis=1) != after.argmax(axis=1)).any()
    np.testing.assert_array_equal(attack._learnt_labels(given, 0, public), expected)


def test_a_finished_trial_is_not_done_again(update, pools, tmp_path):
    first = attack.invert(problem(update, pools), SpanOptions(**SMALL), checkpoint=tmp_path)
    wrong = problem(update, pools, gradients=[g[None] * 0 for g in update.gradients])
    again = attack.invert(wrong, SpanOptions(**SMALL), checkpoint=tmp_path)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.accepted, again.accepted)


def test_a_layer_that_sees_only_averages_is_not_applicable(pools):
    """What is in its span need not look like anybody: quite other images have the same averages."""
    import keras
    from keras.layers import Conv2D, Dense, GlobalAveragePooling2D

    keras.utils.set_random_seed(0)
    layers = [
        Conv2D(10, 3, activation="relu"),
        GlobalAveragePooling2D(),
        Dense(32, activation="relu"),
        Dense(10),
    ]
    model, public = keras.Sequential([keras.Input(SHAPE), *layers]), to_float(pools["public"].x)
    gradients = [np.zeros((1, *v.shape), np.float32) for v in model.trainable_variables]
    found = attack.invert(
        Problem(model, gradients, np.zeros(4), 4, [0], None, public, pools["public"].y), SpanOptions(**SMALL)
    )
    assert found.status == ["not applicable"]
    assert "too little to tell images apart" in found.reason


def test_images_come_back_from_features_that_tell_them(update, pools):
    public, seen = to_float(pools["public"].x), np.ones(SHAPE, bool)
    assert layer_selection.recalled(host_of(update.model, "float32"), public, seen) > 20
    assert (
        layer_selection.recalled(host_of(update.model, "float32"), public[:2], seen) > 20
    )  # from the only other one


UNITS = 24


def shallow(pools, update, units=UNITS):
    """A net of one hidden layer, which is given the pixels themselves and leaves the next one too little, and its gradient over the four
    images, rounded like ``update``."""
    import keras
    import tensorflow as tf
    from keras.layers import Dense, Flatten

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(SHAPE), Flatten(), Dense(units, activation="relu"), Dense(10)])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(update.y, model(update.x), from_logits=True)
        )
    gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    return problem(update, pools, model=model, gradients=[g[None] for g in gradients], layer=np.arange(4))


def test_a_layer_that_is_given_pixels_is_taken_apart_by_its_rays(update, pools):
    found = attack.invert(shallow(pools, update), SpanOptions(**SMALL))
    accepted = found.accepted[0]
    errors = metrics.pairwise_mse(found.images[0][accepted], update.x)
    assert sorted(errors.argmin(axis=1)) == [0, 1, 2, 3]
    assert errors.min(axis=1).max() < 1e-5
    assert (found.labels[0][accepted] == update.y[errors.argmin(axis=1)]).all()
    assert found.certificates["samples_estimated"] == 4


def test_mixtures_of_pixels_are_no_members(update, pools):
    given = shallow(pools, update)
    host = layer_selection.chosen(given.model, given.public)[1]
    whole = subspace.of_matrix(
        host.gradient([g[0] for g in given.gradients]), noise_of(host, update.rounding)
    )
    mixtures = (update.x + np.roll(update.x, 1, axis=0)) / 2
    judged = certify(host, whole, np.concatenate([update.x, mixtures]))
    assert (judged.normalised_residual < membership.NORMALISED_RESIDUAL).all()
    assert (
        np.isfinite(membership.told_from_mixtures(judged, 0).normalised_residual).tolist()
        == [True] * 4 + [False] * 4
    )
    unclear = dataclasses.replace(
        judged, label_margin=np.ones(8), uncertainty=np.array([0.6, 0.7, 0.0, 0.6, 0.7, 0.7, 0.7, 0.7])
    )
    assert (
        np.isfinite(membership.told_from_mixtures(unclear, 4).normalised_residual).tolist()
        == [True, False, True, True] + [False] * 4
    )
    assert not attack.invert(
        given, SpanOptions(**SMALL | {"rays": 0})
    ).accepted.any()  # no image is moved into the span
    assert not attack.invert(given, SpanOptions(**SMALL | {"control": "random_gradient"})).accepted.any()


def test_pixels_are_asked_last_and_where_they_can_answer(update, pools):
    given = shallow(pools, update)
    assert layer_selection.chosen(given.model, given.public)[0].weights.shape == (64, UNITS)
    with pytest.raises(layer_selection.NoHost, match="not nonnegative and sparse"):
        layer_selection.chosen(given.model, 0.1 + 0.9 * given.public)
    with pytest.raises(layer_selection.NoHost, match="after several local steps"):
        layer_selection.chosen(given.model, given.public, one_step=False)
    wide = shallow(pools, update, units=200)
    assert layer_selection.chosen(wide.model, wide.public)[0].weights.shape == (200, 10)


def test_a_model_without_such_a_layer_is_not_applicable(pools):
    import keras

    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(10, 3), keras.layers.GlobalAveragePooling2D()]
    )
    gradients = [np.zeros((1, *v.shape), np.float32) for v in model.trainable_variables]
    given = Problem(
        model, gradients, np.zeros(2), 4, [0], None, to_float(pools["public"].x), pools["public"].y
    )
    found = attack.invert(given, SpanOptions(**SMALL))
    assert found.status == ["not applicable"]
    assert "dense layer" in found.reason
