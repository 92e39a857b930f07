"""The rules of acceptance, on certificates of real images and on made ones."""

import dataclasses

import numpy as np
import pytest
from span_updates import layer_of, noise_of, shallow, span_of

from gradleak.attacks.span import layer_selection, membership, subspace, thresholds
from gradleak.attacks.span.certificates import Certificates, of_features, of_images
from gradleak.attacks.span.subspace import layer_gradient
from gradleak.images import to_float

N = 100


def made(count=1, **columns):
    """Certificates of ``count`` members beyond doubt, but for ``columns``."""
    given = {
        "residual": 1e-9,
        "normalised_residual": 1.5,
        "label": 0,
        "label_normalised_residual": 1.0,
        "label_margin": 1e3,
        "predicted": 0,
        "weight": float(N),
        "uncertainty": 0.1,
    } | columns
    arrays = {name: np.broadcast_to(value, count).copy() for name, value in given.items()}
    return Certificates(**arrays, delta=np.eye(count), feature=np.eye(count))


@pytest.mark.parametrize(
    ("columns", "accepted"),
    [
        ({}, True),
        ({"label_margin": 1.0}, True),
        ({"label_margin": 1.0, "normalised_residual": 5.1}, False),
        ({"normalised_residual": 5.1}, True),
        ({"normalised_residual": 101.0}, False),
        ({"label_margin": 1.0, "weight": 102.4}, False),
        ({"label_margin": 1.0, "weight": 102.2}, True),
        ({"label_margin": 1.0, "weight": 107.0, "uncertainty": 2.0}, True),
        ({"label_margin": 1.0, "uncertainty": 31.0}, False),
        ({"weight": 149.0}, True),
        ({"weight": 151.0}, False),
        ({"weight": 49.0}, False),
    ],
)
def test_an_exact_member_is_in_the_span_and_weighs_n_or_has_a_clear_label(columns, accepted):
    assert membership.is_exact_member(made(**columns), N).tolist() == [accepted]


def test_a_tighter_span_can_be_asked_for():
    judged = made(normalised_residual=3.0, label_margin=1.0)
    assert membership.is_exact_member(judged, N).all()
    assert not membership.is_exact_member(judged, N, 2.0).any()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_rules_read_their_thresholds_when_they_run(monkeypatch, factor):
    limit = factor * thresholds.NORMALISED_RESIDUAL
    monkeypatch.setattr(thresholds, "NORMALISED_RESIDUAL", limit)
    residuals = np.array([0.99, 1.01]) * limit
    judged = made(2, normalised_residual=residuals, label_margin=1.0)
    assert membership.is_exact_member(judged, N).tolist() == [True, False]


def test_members_have_weight_and_label_and_public_images_do_not(update, digits):
    layer, span = span_of(update)
    members = of_images(layer, span, update.x)
    assert members.label.tolist() == update.y.tolist()
    assert membership.is_exact_member(members, 4).all()
    others = of_images(layer, span, to_float(digits["public"].x))
    assert not membership.is_exact_member(others, 4).any()


def test_features_are_judged_without_their_images(update):
    layer, span = span_of(update)
    features = layer.features(update.x.astype(float)).numpy()
    mixture = features[:2].mean(axis=0, keepdims=True)
    judged = of_features(layer, span, np.concatenate([features, features[:1], mixture]))
    assert sorted(membership.probable_members(judged, 0, features[:0])) in (
        [0, 1, 2, 3],
        [1, 2, 3, 4],
    )  # 4 is a copy of 0
    assert sorted(membership.probable_members(judged, 4, features[1:])) in ([0], [4])


def test_a_better_image_of_a_member_is_recognised(update):
    layer, span = span_of(update)
    inexact = np.clip(update.x[1:2] + 0.01, 0, 1)
    judged = of_images(layer, span, np.concatenate([update.x[[0, 2, 3]], inexact, update.x[1:2]]))
    assert membership.similar_member(judged, 4, [0, 1, 3]) == 2
    assert membership.similar_member(judged, 4, [0, 1, 2]) is None
    relabelled = dataclasses.replace(judged, label=np.array([*judged.label[:3], 9, judged.label[4]]))
    assert membership.similar_member(relabelled, 4, [0, 1, 3]) is None
    assert membership.similar_member(relabelled, 4, [0, 1, 3], labels=False) == 2


def test_a_member_counts_once_however_often_it_is_found(update):
    layer = layer_of(update.model)
    gradient = layer_gradient(layer.gradient(update.gradients), noise_of(layer, update.rounding), weight=4.0)
    judged = of_images(layer, gradient.span, update.x[[0, 1, 0, 2]])
    inputs, outputs = gradient.matrix.shape
    nothing = np.zeros((0, inputs)), np.zeros((0, outputs))
    assert membership.that_lower_the_rank(gradient, judged, range(4), *nothing) == [0, 1, 3]
    taken = judged.feature[:1], judged.delta[:1]
    assert membership.that_lower_the_rank(gradient, judged, range(4), *taken) == [1, 3]


def test_an_inexact_copy_is_no_member_and_a_twin_is(update):
    """An inexact copy leaves some of its member in M, and another copy must not be accepted for that."""
    layer = layer_of(update.model)
    twin = np.clip(update.x[:1] + 0.02 * np.random.default_rng(1).uniform(0, 1, update.x[:1].shape), 0, 1)
    images, labels = np.concatenate([update.x, twin]).astype(float), np.append(update.y, update.y[0])
    features = layer.features(images).numpy()
    deltas = layer.deltas(features)[np.arange(5), labels]
    gradient = layer_gradient(features.T @ deltas / 5, 1e-9, weight=5.0)
    cosine = features[0] @ features[4] / np.linalg.norm(features[0]) / np.linalg.norm(features[4])
    assert cosine > 0.99
    both = of_images(layer, gradient.span, images)
    none = features[:0], deltas[:0]
    assert membership.that_lower_the_rank(gradient, both, range(5), *none) == list(range(5))

    alone = layer_gradient(features[:4].T @ deltas[:4] / 4, 1e-9, weight=4.0)
    nearly = of_images(layer, alone.span, np.clip(images[:4] + 1e-5, 0, 1))
    exact = of_images(layer, alone.span, images[:4])
    taken = nearly.feature[:1], nearly.delta[:1]
    assert membership.that_lower_the_rank(alone, exact, range(4), *taken) == [1, 2, 3]


def test_each_accepted_image_lowers_the_rank_of_a_tiny_matrix(rng):
    """In many orders: of three members, a mixture and a copy just the members are accepted."""
    features, deltas = rng.normal(size=(3, 8)), rng.normal(size=(3, 5))
    gradient = layer_gradient(features.T @ deltas / 3, 1e-9, weight=3.0)
    mixture = features[:2].sum(axis=0), deltas[:2].sum(axis=0)
    images = [*zip(features, deltas, strict=True), mixture, (features[2], deltas[2])]
    for _ in range(20):
        order = rng.permutation(5)
        feature, delta = (np.array([images[i][part] for i in range(5)]) for part in (0, 1))
        weight, _ = gradient.span.weigh(feature, delta)
        judged = dataclasses.replace(made(5), feature=feature, delta=delta, weight=weight)
        accepted = membership.that_lower_the_rank(gradient, judged, order, features[:0], deltas[:0])
        assert sorted(2 if index == 4 else index for index in accepted) == [0, 1, 2]


def test_distinct_features_by_brute_force(rng):
    features = np.repeat(rng.normal(size=(4, 6)), 3, axis=0) + 1e-4 * rng.normal(size=(12, 6))
    order = rng.permutation(12)
    chosen = membership.distinct(features, order)
    assert sorted(index // 3 for index in chosen) == [0, 1, 2, 3]
    assert chosen == [next(int(i) for i in order if i // 3 == group) for group in [c // 3 for c in chosen]]


def test_a_feature_is_unlike_all_others_or_similar_to_one():
    others = np.eye(3)[:2]
    vectors = np.array([[2.0, 0, 0], [0.1, 1, 0], [1, 1, 0], [0, 0, 5]])
    assert membership.is_unlike(vectors, others).tolist() == [False, False, True, True]


def test_the_most_similar_feature_must_be_similar():
    features = np.array([[1.0, 0.3], [1.0, 0.1], [0.0, 1.0]])
    assert membership.most_similar(features, np.array([2.0, 0.1])) == 1
    assert membership.most_similar(features, np.array([1.0, 1.0])) is None
    assert membership.most_similar(features[:0], np.array([1.0, 1.0])) is None


def test_near_members_lie_fourfold_deeper_than_the_control_and_each_counts_once(update, digits):
    layer, span = span_of(update)
    judged = of_images(
        layer, span, np.concatenate([update.x, update.x[:1], to_float(digits["public"].x[:4])])
    )
    least = judged.residual[5:].min()
    assert membership.is_near_member(judged.residual, least).tolist() == 5 * [True] + 4 * [False]
    assert not membership.is_near_member(judged.residual, 4 * judged.residual[:5].min()).any()
    assert membership.is_certified_near(np.array([0.11, 0.12, 0.24]), 1.0).tolist() == [True, False, False]
    none, features = np.zeros((0, judged.feature.shape[1])), judged.feature
    assert membership.mutually_dissimilar(judged, range(5), none) == [0, 1, 2, 3]
    assert membership.mutually_dissimilar(judged, range(5), features[2:3]) == [0, 1, 3]
    assert membership.separate_near_members(features, span, range(5), none, least) == [0, 1, 2, 3]
    assert membership.separate_near_members(features, span, range(5), features[2:3], least) == [0, 1, 3]


def test_a_near_member_may_be_similar_to_another_if_the_difference_is_in_the_span_too(rng):
    features = np.abs(rng.normal(size=(3, 40)))
    features[1] = features[0] + 0.1 * features[1]  # a twin
    span = subspace.of_matrix(features.T @ rng.normal(size=(3, 12)), 1e-9)
    copy = features[0] + 0.003 * rng.normal(size=40)
    seen = np.stack([features[0], copy, features[1]])
    assert not membership.is_unlike(seen[1:], features[:1]).any()
    assert span.residual(copy[None])[0] < 1e-4
    assert membership.separate_near_members(seen, span, [0, 1, 2], np.zeros((0, 40)), 4e-4) == [0, 2]


def test_an_unclear_label_is_the_models_prediction_if_it_is_right_of_clear_ones(update):
    layer, span = span_of(update)
    judged = of_images(layer, span, update.x)
    wrong = (update.y + 1) % 10
    for margin, expected in ((1.1, judged.predicted), (1e4, wrong)):
        read = dataclasses.replace(judged, label=wrong, label_margin=np.full(len(wrong), margin))
        np.testing.assert_array_equal(membership.near_labels(read, []), expected)
    unclear = dataclasses.replace(judged, label_margin=np.full(len(wrong), 1.1))
    for right, expected in ((3, judged.predicted), (2, unclear.label)):
        unclear.label[:] = np.where(np.arange(4) < right, judged.predicted, (judged.predicted + 1) % 10)
        np.testing.assert_array_equal(membership.near_labels(unclear, [0, 1, 2, 3]), expected)


def test_mixtures_of_pixels_are_no_members(update, digits):
    given = shallow(digits, update)
    layer = layer_selection.select(given.model, given.public)[1]
    matrix = layer.gradient([g[0] for g in given.gradients])
    span = subspace.of_matrix(matrix, noise_of(layer, update.rounding))
    mixtures = (update.x + np.roll(update.x, 1, axis=0)) / 2
    judged = of_images(layer, span, np.concatenate([update.x, mixtures]))
    assert (judged.normalised_residual < thresholds.NORMALISED_RESIDUAL).all()
    kept = membership.without_mixtures(judged, 0)
    assert np.isfinite(kept.normalised_residual).tolist() == [True] * 4 + [False] * 4
    uncertainty = np.array([0.6, 0.7, 0.0, 0.6, 0.7, 0.7, 0.7, 0.7])
    unclear = dataclasses.replace(judged, label_margin=np.ones(8), uncertainty=uncertainty)
    kept = membership.without_mixtures(unclear, 4)
    assert np.isfinite(kept.normalised_residual).tolist() == [True, False, True, True] + [False] * 4


def test_joint_members_weigh_n_and_lie_tenfold_deeper_than_the_control(batch):
    count = batch.samples
    images = np.concatenate([batch.x, batch.public[:20]]).astype(float)
    judged = of_features(batch.layer, batch.span, batch.layer.features(images).numpy())
    assert membership.is_joint_member(judged, count, 0.0).tolist() == [True] * count + [False] * 20
    unsure = dataclasses.replace(
        judged,
        normalised_residual=np.full(count + 20, np.inf),
        weight=np.full(count + 20, 1.4 * count),
        uncertainty=np.full(count + 20, 0.2 * count),
    )
    least = 10.1 * judged.residual[10]
    assert (
        membership.is_joint_member(unsure, count, least).tolist() == (judged.residual < 0.1 * least).tolist()
    )
    assert membership.is_joint_member(unsure, count, 0.92 * least, near=np.full(count + 20, True))[10]
    heavy = dataclasses.replace(unsure, weight=np.full(count + 20, 1.6 * count))
    assert not membership.is_joint_member(heavy, count, least).any()
    vague = dataclasses.replace(unsure, uncertainty=np.full(count + 20, 0.4 * count))
    assert not membership.is_joint_member(vague, count, least, near=True).any()


@pytest.mark.parametrize(
    ("normalised_residual", "margin", "accepted"),
    [(1.5, 1.0, True), (3.0, 1.0, False), (3.0, 200.0, True)],
)
def test_without_a_clear_label_joint_members_are_in_the_span_to_the_noise(
    batch, normalised_residual, margin, accepted
):
    count = batch.samples
    judged = of_features(batch.layer, batch.span, batch.layer.features(batch.x.astype(float)).numpy())
    columns = {
        "normalised_residual": normalised_residual,
        "label_margin": margin,
        "weight": float(count),
        "uncertainty": 0.1,
    }
    judged = dataclasses.replace(judged, **{name: np.full(count, value) for name, value in columns.items()})
    assert membership.is_exact_member(judged, count).all()
    assert (membership.is_joint_member(judged, count, 0.0) == accepted).all()


def test_a_label_changes_only_where_the_weight_surely_is_another_ones():
    weight, sure = np.array([90.0, 300.0, 120.0, -50.0]), np.full(4, 1.0)
    assert membership.label_by_weight(1, weight, sure, 100) == 0
    assert membership.label_by_weight(2, weight, sure, 100) == 2
    assert membership.label_by_weight(1, weight, np.array([31.0, 1.0, 1.0, 1.0]), 100) == 2
    assert membership.label_by_weight(1, weight, np.full(4, 31.0), 100) == 1


def test_a_near_copy_of_an_exact_member_is_not_certified_beside_it(update):
    """Its difference from the member is in the span, too. Without the member's δ nothing of it is left."""
    layer = layer_of(update.model)
    gradient = layer_gradient(layer.gradient(update.gradients), noise_of(layer, update.rounding))
    exact = of_images(layer, gradient.span, update.x)
    copy = exact.feature[0] + 0.05 * (exact.feature[1] - exact.feature[0])
    both = of_features(layer, gradient.span, np.stack([*exact.feature, copy]))
    assert gradient.span.residual(copy[None], subspace.orthonormal_basis(exact.feature[:1]))[0] < 1e-3
    assert membership.certified_near_members(gradient, both, [4], [0, 1, 2, 3], 0.1) == []
    assert membership.certified_near_members(gradient, both, [4], [], 0.1) == [4]
    assert membership.certified_near_members(gradient, both, [3, 4], [1, 2], 0.1) == [4, 3]
    several = dataclasses.replace(gradient, one_step=False)  # δ shows nothing
    assert membership.certified_near_members(several, both, [4], [0, 1, 2, 3], 0.1) == [4]
