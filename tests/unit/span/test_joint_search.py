"""The joint search: missing members are found, false ones are not certified, and a stopped search goes on."""

import dataclasses
import shutil

import numpy as np
import pytest
from span_updates import context_of, exact_matrix

from gradleak.attacks.span import attack, deflation, joint_search, subspace, thresholds
from gradleak.attacks.span.certificates import of_images
from gradleak.attacks.span.checkpoint import Checkpoint
from gradleak.attacks.span.joint_residual import JointModel, joint_model
from gradleak.attacks.span.joint_state import joint_state
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.search_state import SearchState, no_candidates, result_of
from gradleak.attacks.span.subspace import layer_gradient
from gradleak.attacks.span.weight_vote import Vote
from gradleak.evaluation import metrics


def with_candidates(state, **changes):
    return dataclasses.replace(state, candidates=dataclasses.replace(state.candidates, **changes))


@pytest.fixture(scope="module")
def complete(batch):
    """A search that has found all members."""
    context = context_of(batch, SpanOptions(starts=64, joint_rounds=2))
    gradient = layer_gradient(batch.matrix, batch.noise)
    rng = np.random.default_rng(7)
    state = deflation.recover_members(context, gradient, context.options.rounds, rng)
    assert state.samples == len(state.candidates.members) == batch.samples
    return context, state


@pytest.fixture
def partial(complete):
    """The same, with two members removed: their directions are still in the span."""
    context, state = complete
    members = state.candidates.members
    exact = state.candidates.exact - set(members[6:])
    judged = dataclasses.replace(
        state.candidates.certificates,
        residual=state.candidates.certificates.residual.copy(),
        label=state.candidates.certificates.label.copy(),
    )
    return context, with_candidates(state, members=members[:6], exact=exact, certificates=judged)


def fitted_of(state, model):
    """The members of a search as the start of a fit, and their place."""
    place = np.array(state.candidates.members)
    judged = state.candidates.certificates
    images = state.candidates.images[place]
    return model.start(images, judged.label[place], judged.residual[place]), place


def test_the_remainder_loses_directions_where_missing_members_are_below_the_noise(batch, joint):
    context = context_of(batch, SpanOptions(starts=64, joint_rounds=2, joint_steps=8))
    without_two = joint.remainder(joint.start(batch.x[6:], batch.y[6:], np.full(2, 1e-6)))
    lost = joint_model(
        batch.layer, subspace.of_matrix(without_two, batch.noise), batch.samples, batch.samples
    )
    ends = []
    for model in (lost, joint):
        fitted = model.start(batch.x[:4], batch.y[:4], np.full(4, 1e-6))
        assert model.is_explained(model.misfit(fitted), fitted)
        assert model.directions(fitted) == 4
        model, state = joint_search._with_fewer_directions(context, model, joint_state(fitted, np.arange(4)))
        assert state.weak == model.weak == 2
        assert model.directions(state.fitted) == 2
        ends.append(model.is_explained(model.misfit(state.fitted), state.fitted))
    assert ends == [True, False]  # all four have a direction of their own in the whole update


def test_missing_members_are_found(batch, partial, rng):
    context, state = partial
    before = len(state.candidates.images)
    state = joint_search.search_jointly(context, batch.span, state, rng)
    members = list(state.candidates.members)
    errors = metrics.pairwise_mse(state.candidates.images[members], batch.x)
    assert sorted(errors.argmin(axis=1)) == list(range(batch.samples))
    assert errors.min(axis=1).max() < 1e-4
    assert (state.candidates.labels[members] == batch.y[errors.argmin(axis=1)]).all()
    assert min(members) >= before  # each by its exacter image
    assert state.unexplained[-1] < 1e-8


def test_a_false_positive_is_not_certified_by_the_fit(batch, partial, rng):
    context, state = partial
    false = batch.public[:1].astype(float)
    index = len(state.candidates.images)
    candidates = state.candidates.added(false, of_images(batch.layer, batch.span, false))
    state = dataclasses.replace(state, candidates=candidates.with_members([index]))
    model = joint_model(context.fine, batch.span, batch.samples, batch.samples)
    fitted, place = fitted_of(state, model)
    state = joint_search._settled(context, model, state, joint_state(fitted, place), rng)
    *members, last = state.candidates.members
    assert state.candidates.joint <= set(members)
    assert min(state.candidates.joint) > max(place)
    assert last == place[-1]  # what the fit does not certify stays as it was
    assert set(members) - state.candidates.joint <= set(place)


def test_the_fit_with_more_certified_images_counts(batch, partial, rng):
    context, state = partial
    model = joint_model(context.fine, batch.span, batch.samples, batch.samples)
    fitted, place = fitted_of(state, model)
    joint = joint_state(fitted, place).with_fit(fitted.subset(slice(2)), place[:2]).with_best()
    assert len(joint.best) == 6
    state = joint_search._settled(context, model, state, joint, rng)
    assert len(state.candidates.joint) == 6
    assert min(state.candidates.members) > max(place)  # all by their fitted image


def test_a_member_similar_to_a_known_one_is_found_too(batch, rng):
    x, y, count = batch.x.copy(), batch.y.copy(), batch.samples
    x[7], y[7] = np.clip(x[0] + 0.03 * rng.normal(size=x[0].shape) * (x[0] > 0), 0, 1), y[0]
    similar, one = (batch.layer.features(x[[k]]).numpy()[0] for k in (7, 0))
    assert similar @ one > 0.98 * np.linalg.norm(similar) * np.linalg.norm(one)
    matrix, noise = exact_matrix(batch.layer, x, y)
    span = subspace.of_matrix(matrix, noise)
    context = context_of(batch, SpanOptions(starts=64, joint_rounds=3))
    candidates = no_candidates(x.shape[1:], *matrix.shape)
    candidates = candidates.added(x[:6], of_images(batch.layer, span, x[:6])).with_members(range(6))
    state = joint_search.search_jointly(
        context, span, SearchState(candidates, samples=count, vote=Vote(count)), rng
    )
    members = list(state.candidates.members)
    errors = metrics.pairwise_mse(state.candidates.images[members], x)
    assert sorted(errors.argmin(axis=1)) == list(range(count))
    assert errors.min(axis=1).max() < 1e-4


def test_a_member_that_does_not_fit_is_replaced_by_a_better_image(batch, partial, rng):
    context, state = partial
    wrong = state.candidates.members[0]
    label = state.candidates.certificates.label
    right = int(label[wrong])
    label[wrong] = (right + 1) % 10
    state = joint_search.search_jointly(context, batch.span, state, rng)
    assert wrong not in state.candidates.members
    assert len(state.candidates.members) == batch.samples
    instead = state.candidates.members[0]
    assert state.candidates.labels[instead] == right
    np.testing.assert_allclose(state.candidates.images[instead], state.candidates.images[wrong], atol=0.01)


def test_where_no_fit_is_possible_the_search_changes_nothing(batch, partial, rng, monkeypatch):
    context, state = partial
    monkeypatch.setattr(thresholds, "JACOBIAN_BYTES", 1000)
    assert joint_search.search_jointly(context, batch.span, state, rng) is state
    monkeypatch.undo()
    many = dataclasses.replace(state, samples=1000)  # as after clipping: more members than directions
    assert joint_search.search_jointly(context, batch.span, many, rng) is many
    control = joint_search.search_jointly_without_members(context, batch.span, many, rng)
    assert control.candidates.members == ()


def test_a_remainder_without_members_gives_none(batch, partial, rng):
    context, state = partial
    state = joint_search.search_jointly_without_members(context, batch.span, state, rng)
    assert state.candidates.members == ()


def test_a_stopped_search_goes_on_to_the_same_end(batch, partial, tmp_path, monkeypatch):
    context, start = partial
    gradient = layer_gradient(batch.matrix, batch.noise)
    monkeypatch.setattr(attack, "_needs_joint_search", lambda *_: True)
    # So that some images are weak, and found again.
    monkeypatch.setattr(JointModel, "is_explained", lambda *_: False)
    find = deflation.recover_members

    def first(context, gradient, rounds, rng):
        """The partial search of the update, but the real one of the remainder."""
        return start if gradient.matrix is batch.matrix else find(context, gradient, rounds, rng)

    def remainder_only(context, gradient, rounds, rng):
        assert gradient.matrix is not batch.matrix
        return find(context, gradient, rounds, rng)

    def keep(text, *values):
        """What a search that stops here leaves behind, kept beside the one that goes on."""
        if "fitted together" in text and values[2] and not (tmp_path / "stopped").exists():
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped")

    monkeypatch.setattr(deflation, "recover_members", first)
    kept = dataclasses.replace(context, progress=keep)
    checkpoint = Checkpoint(tmp_path / "whole", "this one")
    whole = attack.search(kept, gradient, np.random.default_rng(3), checkpoint)
    monkeypatch.setattr(deflation, "recover_members", remainder_only)
    checkpoint = Checkpoint(tmp_path / "stopped", "this one")
    resumed = attack.search(context, gradient, np.random.default_rng(99), checkpoint)
    for name, column in vars(whole).items():
        np.testing.assert_array_equal(getattr(resumed, name), column, err_msg=name)
    monkeypatch.setattr("gradleak.attacks.span.checkpoint.fields", lambda _: [])  # as of another version
    assert Checkpoint(tmp_path / "stopped", "this one").load(np.random.default_rng(0)) is None


def test_only_near_members_of_a_small_residual_are_certified_and_all_others(batch, partial):
    context, state = partial
    sharp, fitted, deep, _ = members = state.candidates.members[:4]
    state = with_candidates(state, members=members, exact=frozenset({sharp}), joint=frozenset({fitted}))
    state.candidates.certificates.residual[list(members)] = [0.2, 0.2, 0.11, 0.2]
    gradient = layer_gradient(batch.matrix, batch.noise)
    settled = attack._certified(context, dataclasses.replace(state, control_minimum=1.0), gradient)
    result = result_of(settled)
    assert result.accepted.sum() == 3
    expected = state.candidates.images[[sharp, fitted, deep]]
    np.testing.assert_array_equal(np.sort(result.images[:3], axis=0), np.sort(expected, axis=0))
    assert (np.isfinite(result.error) == result.accepted).all()


def test_counters_of_a_round_that_fits_more_images_start_again(batch, joint):
    whole = joint.start(batch.x, batch.y, np.full(batch.samples, 1e-6))
    state = joint_state(whole.subset(slice(4)), np.arange(4))
    none, one = whole.subset(slice(0)), whole.subset(slice(4, 5))
    idle = state.with_new(none, np.zeros(0, int))
    assert (idle.round, idle.idle, idle.most) == (1, 1, 4)
    grown = idle.with_new(one, np.array([-1]))
    assert (grown.round, grown.idle, grown.most) == (2, 0, 5)
    assert grown.place.tolist() == [0, 1, 2, 3, -1]
