"""The residual of a joint fit: what is explained, and the influence of each image."""

import numpy as np
import pytest

from gradleak.attacks.span import joint_residual, subspace, thresholds


def test_the_true_images_explain_all_and_a_false_one_has_no_influence(batch, joint):
    count = batch.samples
    whole = joint.start(batch.x, batch.y, np.full(count, 1e-6))
    assert joint.is_explained(joint.misfit(whole), whole)
    assert joint_residual.leave_one_out(joint, whole).min() > 10
    images = np.concatenate([batch.x[: count - 1], batch.public[:1]])
    one_false = joint.start(images, np.append(batch.y[: count - 1], 0), np.full(count, 1e-6))
    influence = joint_residual.leave_one_out(joint, one_false)
    assert influence[-1] < 1.05**2 - 1 < influence[:-1].min()
    assert joint_residual.is_essential(joint, one_false).tolist() == (influence > 0.45).tolist()


def test_beside_free_directions_influence_is_bounded_by_the_weakest_of_them(batch, joint):
    fitted = joint.start(batch.x[:6], batch.y[:6], np.full(6, 1e-6))
    influence = joint_residual.leave_one_out(joint, fitted)
    assert influence.max() <= 1 + 1e-9  # by interlacing: one direction more pushes out one at most
    rest = np.linalg.svd(joint.remainder(fitted) @ joint.rows, compute_uv=False)
    index, (features, deltas) = int(influence.argmax()), joint.terms(fitted)
    fuller = joint.remainder(fitted) + np.outer(features[index], deltas[index]) / batch.samples
    grown = (
        np.square(np.linalg.svd(fuller @ joint.rows, compute_uv=False)[2:]).sum() - np.square(rest[2:]).sum()
    )
    assert influence[index] == pytest.approx(grown / rest[1] ** 2, rel=1e-6)


def test_few_enough_images_are_weak_to_leave_the_others_something_to_fit(batch, joint, monkeypatch):
    monkeypatch.setattr(thresholds, "WEAK_IMAGE", 1e12)
    fitted = joint.start(batch.x[:6], batch.y[:6], np.full(6, 1e-6))
    essential = joint_residual.is_essential(joint, fitted)
    assert joint.rows.shape[1] == batch.samples
    assert essential.sum() == 2  # with two that are missing, six of eight directions are free
    influence = joint_residual.leave_one_out(joint, fitted)
    assert influence[essential].min() >= influence[~essential].max()


def test_half_of_the_missing_members_at_most_count_as_weak(batch, joint):
    whole = joint.start(batch.x, batch.y, np.full(batch.samples, 1e-6))
    weak = joint.with_weak(2)
    assert [weak.directions(whole.subset(slice(k))) for k in (8, 7, 6, 5, 4, 2)] == [0, 1, 1, 2, 2, 4]


def test_a_fit_needs_images_and_fewer_free_directions_than_m_has(batch):
    half = batch.samples // 2
    model = joint_residual.joint_model(
        batch.layer, subspace.of_matrix(batch.matrix, batch.noise), half, half
    )  # room for all
    fitted = model.start(batch.x, batch.y, np.full(batch.samples, 1e-6))
    assert model.is_possible(fitted)
    assert not model.is_possible(fitted.subset(np.zeros(batch.samples, bool)))


def test_images_are_joined_and_taken_by_index(batch, joint):
    whole = joint.start(batch.x, batch.y, np.full(batch.samples, 1e-6))
    again = whole.subset(slice(3)).joined(whole.subset(np.arange(3, batch.samples)))
    for name, column in vars(again).items():
        np.testing.assert_array_equal(column, getattr(whole, name), err_msg=name)
