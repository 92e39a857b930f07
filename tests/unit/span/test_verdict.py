"""What weights prove: N, the scale, both possibilities, or nothing."""

import json

import numpy as np
import pytest
from span_updates import exact_matrix
from test_membership import made

from gradleak.attacks.span import certificates, membership, note_kinds
from gradleak.attacks.span.search_state import SearchState, no_candidates
from gradleak.attacks.span.subspace import layer_gradient
from gradleak.attacks.span.verdict import judge, of_search, result_with
from gradleak.attacks.span.weight_vote import Vote, vote

STATED, ESTIMATED, ROUGH = 0.9, 0.6, 0.3


def exact_vote(weight, voters=8, **more):
    return Vote(weight, 1e-3, voters, is_exact=True, **more)


def kinds(found):
    return [note["kind"] for note in found.notes]


@pytest.mark.parametrize(
    ("weight", "stated", "confidence", "samples", "factor", "notes"),
    [
        (8.0, 8, STATED, 8, 1.0, []),
        (8.001, 8, 1.0, 8, 1.0, []),
        # A loss that was halved or summed, a gradient in place of a delta, a scale that is an estimate.
        (16.0, 8, STATED, 0, 1.0, [note_kinds.SCALE_OR_SAMPLES]),
        (1.0, 8, STATED, 0, 8.0, [note_kinds.SCALE_CORRECTED]),
        (0.4, 8, STATED, 0, 20.0, [note_kinds.SCALE_CORRECTED]),
        (22.2, 32, ROUGH, 0, 32 / 22.2, [note_kinds.SCALE_CORRECTED]),
        (8.0, 8, ROUGH, 0, 1.0, [note_kinds.SCALE_CORRECTED]),
        (8.0, 8, 0.0, 0, 1.0, [note_kinds.SCALE_CORRECTED]),
        # An estimate on an untrained model is off by a few per cent.
        (7.9, 8, ESTIMATED, 8, 8 / 7.9, []),
        (7.9, 9, ESTIMATED, 0, 9 / 7.9, [note_kinds.SCALE_CORRECTED]),
        (19.8, 20, ESTIMATED, 0, 20 / 19.8, [note_kinds.SCALE_CORRECTED]),
        # Neither a whole number nor the stated one: the stated scale is wrong.
        (12.6, 8, STATED, 0, 8 / 12.6, [note_kinds.SCALE_CORRECTED]),
        (0.0, 8, STATED, 0, 1.0, []),
    ],
)
def test_n_is_proven_where_scale_weights_and_statement_agree(
    weight, stated, confidence, samples, factor, notes
):
    found = judge(exact_vote(weight), stated, confidence, least=5)
    assert found.samples == samples
    assert found.factor == pytest.approx(factor)
    assert kinds(found) == notes


def test_n_is_never_below_the_rank():
    found = judge(exact_vote(8.0), 8, STATED, least=9)
    assert (found.samples, found.count) == (0, 0)
    assert found.notes == ({"kind": note_kinds.SAMPLES_REFUTED, "samples": 8, "least": 9},)


def test_one_vote_proves_no_estimate_but_that_of_a_single_image():
    assert judge(exact_vote(4.0, voters=1), 4, ESTIMATED, least=1).samples == 0
    assert judge(exact_vote(1.0, voters=1), 1, ESTIMATED, least=1).samples == 1


def test_weights_that_differ_prove_nothing():
    found = judge(exact_vote(8.0, voters=3, dissent=(5.0,)), 8, STATED, least=4)
    assert (found.samples, found.count, found.factor) == (0, 0, 1)
    assert found.notes == ({"kind": note_kinds.WEIGHTS_DIFFER, "least": 5.0, "most": 8.0},)


def test_a_coarse_vote_contradicts_nothing():
    found = judge(Vote(9.2, 0.1, 2), 8, STATED, least=5)
    assert (found.samples, found.notes) == (0, ())
    assert judge(Vote(8.3, 0.1, 2), 8, STATED, least=5).samples == 8


def searched(batch, matrix, samples=8, **changes):
    """(gradient, state) of a search that has found all images of ``batch``."""
    gradient = layer_gradient(matrix, batch.noise, samples)
    judged = certificates.of_images(batch.layer, gradient.span, batch.x)
    judged = type(judged)(**vars(judged) | changes)
    candidates = no_candidates(batch.x.shape[1:], *matrix.shape).added(batch.x, judged)
    for index in range(len(batch.x)):
        candidates = candidates.with_exact_member(index)
    return gradient, SearchState(candidates, samples=samples, vote=vote(judged, True, samples))


@pytest.mark.parametrize("unit", [0.5, 1 / 8, 20.0])
def test_weights_are_shown_in_the_scale_that_the_stated_number_gives(batch, unit):
    """M of half the loss, of a loss that is summed and divided by N twice, and of a gradient over a rate."""
    features = batch.layer.features(batch.x).numpy()
    deltas = batch.layer.deltas(features)[np.arange(8), batch.y]
    matrix, noise = unit * features.T @ deltas / 8, unit * batch.noise
    state = searched(batch, matrix)[1]
    gradient = layer_gradient(matrix, noise, 8)
    result = result_with(of_search(gradient, state, ROUGH), state)
    np.testing.assert_allclose(result.weight, 8, rtol=1e-3)
    assert result.samples == 0
    (note,) = json.loads(result.notes)
    assert note["factor"] == pytest.approx(unit, rel=1e-3)


def test_labels_are_left_open_where_the_loss_is_another(batch):
    """Label smoothing moves each δ out of the row space of the cross-entropy's."""
    features = batch.layer.features(batch.x).numpy()
    each = batch.layer.deltas(features)
    deltas = 0.9 * each[np.arange(8), batch.y] + 0.1 * each.mean(axis=1)
    gradient, state = searched(batch, features.T @ deltas / 8)
    found = of_search(gradient, state, STATED)
    assert (found.samples, found.count) == (0, 0)
    assert found.notes[-1] == {"kind": note_kinds.LOSS_UNEXPECTED, "images": 8, "of": 8}
    assert (result_with(found, state).labels == -1).all()

    gradient, state = searched(batch, exact_matrix(batch.layer, batch.x, batch.y)[0])
    found = of_search(gradient, state, STATED)
    assert (found.samples, found.notes) == (8, ())
    assert sorted(result_with(found, state).labels) == sorted(batch.y)


def test_half_of_the_stated_images_that_explain_all_prove_no_n(batch):
    """Twice the number and half the loss look like images whose loss is zero."""
    gradient, state = searched(batch, batch.matrix / 2, samples=16)
    found = of_search(gradient, state, STATED)
    assert found.samples == 0
    assert found.notes == ({"kind": note_kinds.EXPLAINED_BY_FEWER, "images": 8, "samples": 16},)


def test_a_full_rank_refutes_nothing(rng):
    """Adam's steps have the full rank of the units that are active, whatever the number of images."""
    matrix = np.zeros((9, 7))
    matrix[:6, :5] = np.sign(rng.normal(size=(6, 5)))
    state = SearchState(no_candidates((2, 2, 1), 9, 7))
    full = layer_gradient(matrix, 1e-9, samples=2)
    assert full.span.rank == 5
    assert of_search(full, state, STATED).notes == ()
    low = rng.normal(size=(9, 3)) @ rng.normal(size=(3, 7))
    assert kinds(of_search(layer_gradient(low, 1e-9, samples=2), state, STATED)) == [
        note_kinds.SAMPLES_REFUTED
    ]


def test_members_of_weighted_classes_have_evidence_of_their_own():
    judged = made(3, weight=[8.0, 3.0, -3.0], uncertainty=1e-3)
    assert membership.has_own_evidence(judged).tolist() == [True, True, False]
    for change in ({"label_margin": 9.0}, {"label_normalised_residual": 6.0}, {"normalised_residual": 6.0}):
        assert not membership.has_own_evidence(made(1, **change)).any()
