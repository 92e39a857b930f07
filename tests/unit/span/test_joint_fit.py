"""Images fitted together: their pixels, their units and their labels."""

import numpy as np
from span_updates import quiet
from test_joint_linear import near

from gradleak.attacks.span import joint_fit, subspace
from gradleak.attacks.span.joint_residual import JointModel


def test_members_become_exact_though_two_are_missing(batch, joint, rng):
    start = near(batch, 6, 0.003, rng)
    fitted = joint.start(start, batch.y[:6], np.full(6, 4e-6))
    refined = joint_fit.refine(joint, fitted, 8, quiet)
    error, before = (np.sqrt(np.square(images - batch.x[:6]).mean()) for images in (refined.images, start))
    assert error < before / 10
    assert joint.misfit(refined) < joint.misfit(fitted) / 100
    # The remainder is then the two others' alone.
    rest = subspace.of_matrix(joint.remainder(refined), joint.noise(refined))
    others = batch.layer.features(batch.x[6:]).numpy()
    public = batch.layer.features(batch.public[:100].astype(float)).numpy()
    assert rest.residual(others).max() < 0.01 * joint.span.residual(public).min()


def test_units_on_the_wrong_side_are_switched(batch, joint):
    whole = joint.start(batch.x, batch.y, np.full(batch.samples, 1e-2))
    nearest = np.abs(joint.unit_inputs(joint.features(whole))).argmin(axis=1)
    right = whole.active.copy()
    whole.active[[0, 3], nearest[[0, 3]]] ^= True
    assert not joint.is_explained(joint.misfit(whole), whole)
    assert (joint_fit.with_switched_units(joint, whole).active == right).all()


def test_without_a_doubtful_unit_the_images_stay_as_they_are(batch, joint):
    whole = joint.start(batch.x, batch.y, np.full(batch.samples, 1e-14))
    whole = whole.subset(slice(None))
    whole.error[:] = 0
    assert joint_fit.with_switched_units(joint, whole) is whole


def test_the_squared_norms_after_a_switch_are_those_of_the_matrices(rng):
    """Against singular values of each matrix by itself."""
    remainder, terms, jumps = rng.normal(size=(9, 5)), rng.normal(size=(4, 9)), rng.normal(size=(4, 5))
    got = joint_fit._trailing_after(remainder, terms, jumps, 2)
    for value, term, jump in zip(got, terms, jumps, strict=True):
        values = np.linalg.svd(remainder - np.outer(term, jump), compute_uv=False)
        np.testing.assert_allclose(value, np.square(values[2:]).sum(), rtol=1e-10)


def test_a_wrong_label_is_the_one_under_which_the_weight_is_not_n(batch, joint, monkeypatch):
    # As where all others have compensated the wrong ones.
    monkeypatch.setattr(JointModel, "noise", lambda *_: batch.noise)
    images = np.concatenate([batch.x[:6], batch.public[:1]])
    labels = np.array([*batch.y[:6], 3])
    wrong = labels.copy()
    wrong[[1, 4]] = (wrong[[1, 4]] + 1) % 10
    fitted = joint.start(images, wrong, np.full(7, 1e-6))
    # A false positive has the weight N under no label, and keeps its own.
    assert joint_fit.relabelled(joint, fitted).labels.tolist() == labels.tolist()
    assert fitted.labels.tolist() == wrong.tolist()
