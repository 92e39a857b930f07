"""Members refined together: the linear system against differences, switches, and a hidden member that comes to light."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from gradleak.attacks.span import joint_search, membership, subspace
from gradleak.attacks.span.certificates import certify, judge
from gradleak.attacks.span.checkpoint import Fit, Kept
from gradleak.attacks.span.deflation import Found, LookedAt, Search
from gradleak.attacks.span.dense_layer import hosts
from gradleak.attacks.span.joint_fit import Joint, _Linear
from gradleak.attacks.span.layer_selection import chosen
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.federated import client, datasets
from gradleak.federated.models import build
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

N = 8


@pytest.fixture(scope="module")
def batch():
    """Eight images under fcn3 after an epoch, the exact matrix of the layer, and noise of a millionth of its norm."""
    pools = datasets.split("digits-8x8", datasets.load("digits-8x8", None))
    options = ClientOptions(dataset="digits-8x8", model="fcn3", batch_size=N, pretrain_epochs=1)
    model = client.global_model(options, pools["pretraining"])
    (draw,) = client.simulate(options, model, pools["private"], [0])
    x, y, public = to_float(draw.private.x).astype(float), draw.private.y, to_float(pools["public"].x)
    coarse, host = chosen(model, public)
    noisy, noise = shared(host, x, y)
    return SimpleNamespace(x=x, y=y, host=host, coarse=coarse, public=public, matrix=noisy, noise=noise)


def shared(host, x, y):
    """M of these images with its noise, and the noise's norm."""
    features = host.features(x).numpy()
    matrix = features.T @ host.signals(features)[np.arange(len(y)), y] / len(y)
    noise = 1e-6 * np.linalg.norm(matrix, 2)
    rng = np.random.default_rng(0)
    return matrix + noise / sum(np.sqrt(matrix.shape)) * rng.normal(size=matrix.shape), noise


@pytest.fixture
def joint(batch):
    return Joint(batch.host, subspace.of_matrix(batch.matrix, batch.noise), N)


def near(batch, count, error, rng):
    """The first members with errors in the pixels that are not black."""
    x = batch.x[:count]
    return np.clip(x + error * rng.normal(size=x.shape) * (x > 0), 0, 1)


def test_delta_bends_as_differences_say(batch):
    features = batch.host.features(batch.x).numpy()
    left = features[:, : len(batch.host.weights)] @ batch.host.weights
    curvature = batch.host.curvature_at(np.asarray(left), batch.y).numpy()
    move = np.random.default_rng(1).normal(size=left.shape) * (np.abs(left) > 1e-3)
    both = [batch.host.signal_at(left + step * move, batch.y).numpy() for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(
        np.einsum("koq,kq->ko", curvature, move), (both[0] - both[1]) / 2e-6, atol=1e-7
    )


def test_only_a_layer_in_front_of_a_relu_switches():
    images = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 1))
    *_, last = hosts(build("fcn3", (8, 8, 1), 0), "float64")
    assert not last.switches(images)
    assert hosts(build("fcn3", (8, 8, 1), 0), "float64")[1].switches(images)


def test_the_linear_system_is_the_derivative_of_the_rest_beyond_its_free_directions(batch, joint, rng):
    known = joint.known(near(batch, 6, 0.01, rng), batch.y[:6], np.full(6, 1e-4))
    lit = np.ones(known.images.shape, bool)
    system = _Linear(joint, known, lit)
    change = 1e-6 * rng.uniform(0, 1, system.start.shape) * (system.start < 0.5)
    moved = dataclasses.replace(known, images=system.moved(known.images, change))
    terms = [(joint.span.matrix - joint.rest(k)) @ joint.rows for k in (moved, known)]
    expected = system._free((terms[0] - terms[1])[system.alive]) / joint.span.deviation
    got = system._change(system._times(system.jacobian, change))
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_the_system_and_its_adjoint_agree(batch, joint, rng):
    known = joint.known(near(batch, 6, 0.01, rng), batch.y[:6], np.full(6, 1e-4))
    system = _Linear(joint, known, np.ones(known.images.shape, bool))
    moves, matrix = rng.normal(size=system.values.shape), rng.normal(size=system.target.shape)
    there, back = (system._change(moves) * matrix).sum(), (moves * system._back(matrix)).sum()
    assert there == pytest.approx(back, rel=1e-9)


def test_a_step_leaves_pixels_within_their_range_and_others_alone(batch, joint, rng):
    known = joint.known(near(batch, 6, 0.05, rng), batch.y[:6], np.full(6, 1e-3))
    lit = known.images > 0
    system = _Linear(joint, known, lit)
    moved = system.moved(known.images, system.solution(np.full(6, 0.05)))
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved[~lit] == 0).all()
    assert (moved != known.images).any()


def test_members_become_sharp_though_two_are_hidden(batch, joint, rng):
    start = near(batch, 6, 0.003, rng)
    known = joint.known(start, batch.y[:6], np.full(6, 4e-6))
    refined = joint.refined(known, 8)
    error, before = (np.sqrt(np.square(images - batch.x[:6]).mean()) for images in (refined.images, start))
    assert error < before / 10
    assert joint.misfit(refined) < joint.misfit(known) / 100
    # The rest is then the two others' alone.
    rest = subspace.of_matrix(joint.rest(refined), joint.noise(refined))
    others = batch.host.features(batch.x[6:]).numpy()
    assert (
        rest.residual(others).max()
        < 0.01 * joint.span.residual(batch.host.features(batch.public[:100].astype(float)).numpy()).min()
    )


def test_the_true_images_are_all_explained_and_a_stranger_is_not_missed(batch, joint):
    whole = joint.known(batch.x, batch.y, np.full(N, 1e-6))
    assert joint.explained(joint.misfit(whole), whole)
    assert joint.missed(whole).min() > 10
    strange = np.concatenate([batch.x[: N - 1], batch.public[:1]])
    strange = joint.known(strange, np.append(batch.y[: N - 1], 0), np.full(N, 1e-6))
    missed = joint.missed(strange)
    assert missed[-1] < 1.05**2 - 1 < missed[:-1].min()
    assert joint.needed(strange).tolist() == (missed > 0.45).tolist()


def test_who_is_behind_free_directions_is_missed_as_much_as_the_weakest_of_them_lets(batch, joint):
    known = joint.known(batch.x[:6], batch.y[:6], np.full(6, 1e-6))
    missed = joint.missed(known)
    assert missed.max() <= 1 + 1e-9  # by interlacing: one direction more pushes out one at most
    rest = np.linalg.svd(joint.rest(known) @ joint.rows, compute_uv=False)
    index, (values, signals) = int(missed.argmax()), joint._terms(known)
    fuller = joint.rest(known) + np.outer(values[index], signals[index]) / N
    grown = (
        np.square(np.linalg.svd(fuller @ joint.rows, compute_uv=False)[2:]).sum() - np.square(rest[2:]).sum()
    )
    assert missed[index] == pytest.approx(grown / rest[1] ** 2, rel=1e-6)


def test_few_enough_are_set_free_to_leave_the_others_something_to_fit(batch, joint, monkeypatch):
    monkeypatch.setattr("gradleak.attacks.span.joint_fit._MISSED", 1e12)
    known = joint.known(batch.x[:6], batch.y[:6], np.full(6, 1e-6))
    needed = joint.needed(known)
    assert joint.rows.shape[1] == N
    assert needed.sum() == 2  # with two that are missing, six of eight directions are free
    assert joint.missed(known)[needed].min() >= joint.missed(known)[~needed].max()


def test_the_rest_is_left_fewer_directions_where_missing_members_are_lost_in_the_noise(batch, joint):
    without_two = joint.rest(joint.known(batch.x[6:], batch.y[6:], np.full(2, 1e-6)))
    lost = Joint(batch.host, subspace.of_matrix(without_two, batch.noise), N)
    ends = []
    for fitted in (lost, joint):
        known = fitted.known(batch.x[:4], batch.y[:4], np.full(4, 1e-6))
        assert fitted.explained(fitted.misfit(known), known)
        assert fitted.directions(known) == 4
        fit = Fit(known, np.arange(4), most=4)
        joint_search._tighten(fitted, fit, 8, None)
        assert fit.faint == fitted.faint == 2
        assert fitted.directions(fit.known) == 2
        ends.append(fitted.explained(fitted.misfit(fit.known), fit.known))
    assert ends == [True, False]  # all four have a direction of their own in the whole update


def test_half_of_the_missing_members_at_most_count_as_lost(batch, joint):
    whole = joint.known(batch.x, batch.y, np.full(N, 1e-6))
    joint.faint = 2
    assert [joint.directions(whole.chosen(slice(k))) for k in (8, 7, 6, 5, 4, 2)] == [0, 1, 1, 2, 2, 4]


def test_units_that_are_the_wrong_way_are_switched(batch, joint):
    whole = joint.known(batch.x, batch.y, np.full(N, 1e-2))
    nearest = np.abs(joint._inputs(joint.features(whole))).argmin(axis=1)
    right = whole.on.copy()
    whole.on[[0, 3], nearest[[0, 3]]] ^= True
    assert not joint.explained(joint.misfit(whole), whole)
    assert (joint._switched(whole).on == right).all()


def search_of(batch, options):
    return Search(
        batch.coarse, batch.host, batch.public, np.ones(batch.public.shape[1:], bool), None, options
    )


@pytest.fixture
def forgetful(batch, rng):
    """A search that has found all, and forgotten two: their places in the span are still there."""
    options = SpanOptions(starts=64, joint_rounds=2)
    search = search_of(batch, options)
    found = search.searched(batch.matrix, batch.noise, options.rounds, rng)
    assert found.samples == len(found.known.members) == N
    found.known.sharp -= set(found.known.members[6:])
    del found.known.members[6:]
    return search, found


def test_of_near_members_only_deep_ones_are_certified_and_of_others_all(batch, forgetful):
    search, found = forgetful
    sharp, fitted, deep, _ = members = found.known.members[:4]
    found.known.members, found.known.sharp, found.known.fitted = list(members), {sharp}, {fitted}
    found.known.judged.residual[members] = [0.2, 0.2, 0.16, 0.2]
    found.control_minimum = 1.0
    taken = search._taken(found, subspace.of_matrix(batch.matrix, batch.noise))
    assert found.known.members == [sharp, fitted, deep]
    assert taken.candidates.accepted.sum() == 3
    assert (np.isfinite(taken.candidates.error) == taken.candidates.accepted).all()


def test_who_is_hidden_comes_to_light(batch, forgetful, rng):
    search, found = forgetful
    before = len(found.known.images)
    joint_search.bring_to_light(search, found, subspace.of_matrix(batch.matrix, batch.noise), rng)
    members = found.known.members
    errors = metrics.pairwise_mse(found.known.images[members], batch.x)
    assert sorted(errors.argmin(axis=1)) == list(range(N))
    assert errors.min(axis=1).max() < 1e-4
    assert (found.known.labels[members] == batch.y[errors.argmin(axis=1)]).all()
    assert min(members) >= before  # every one in its sharper version
    assert found.unexplained[-1] < 1e-8


def test_a_stranger_that_was_fitted_is_not_certified_by_that(batch, forgetful, rng):
    search, found = forgetful
    whole, stranger = subspace.of_matrix(batch.matrix, batch.noise), batch.public[:1].astype(float)
    found.known.members.append(found.known.add(stranger, certify(batch.host, whole, stranger)))
    place, joint = np.array(found.known.members), Joint(search.fine, whole, N)
    judged = found.known.judged
    fitted = joint.known(found.known.images[place], judged.label[place], judged.residual[place])
    joint_search._settle(search, found, joint, Fit(fitted, place, most=len(place)), rng, nobody=False)
    *members, strange = found.known.members
    assert found.known.fitted <= set(members)
    assert min(found.known.fitted) > max(place)
    assert strange == place[-1]  # what the fit does not certify stays as it was
    assert set(members) - found.known.fitted <= set(place)


def test_the_state_counts_that_more_images_are_certified_of(batch, forgetful, rng):
    search, found = forgetful
    place, whole = np.array(found.known.members), subspace.of_matrix(batch.matrix, batch.noise)
    images, judged = found.known.images[place], found.known.judged
    joint = Joint(search.fine, whole, N)
    fit = Fit(joint.known(images, judged.label[place], judged.residual[place]), place)
    fit.known, fit.place = fit.known.chosen(slice(2)), place[:2]
    fit.keep_if_best()
    assert len(fit.best) == 6
    joint_search._settle(search, found, joint, fit, rng, nobody=False)
    assert len(found.known.fitted) == 6
    assert min(found.known.members) > max(place)  # all in their fitted version


def test_who_looks_like_a_known_one_comes_to_light_too(batch, rng):
    x, y = batch.x.copy(), batch.y.copy()
    x[7], y[7] = np.clip(x[0] + 0.03 * rng.normal(size=x[0].shape) * (x[0] > 0), 0, 1), y[0]
    like, one = (batch.host.features(x[[k]]).numpy()[0] for k in (7, 0))
    assert like @ one > 0.98 * np.linalg.norm(like) * np.linalg.norm(one)
    matrix, noise = shared(batch.host, x, y)
    options = SpanOptions(starts=64, joint_rounds=3)
    search = search_of(batch, options)
    found = Found(LookedAt(x.shape[1:], *matrix.shape), N, [])
    found.known.add(x[:6], certify(batch.host, subspace.of_matrix(matrix, noise), x[:6]))
    found.known.members = list(range(6))
    joint_search.bring_to_light(search, found, subspace.of_matrix(matrix, noise), rng)
    members = found.known.members
    errors = metrics.pairwise_mse(found.known.images[members], x)
    assert sorted(errors.argmin(axis=1)) == list(range(N))
    assert errors.min(axis=1).max() < 1e-4


def test_a_member_that_does_not_fit_makes_room_for_a_better_version(batch, forgetful, rng):
    search, found = forgetful
    wrong = found.known.members[0]
    right = int(found.known.judged.label[wrong])
    found.known.judged.label[wrong] = (right + 1) % 10
    joint_search.bring_to_light(search, found, subspace.of_matrix(batch.matrix, batch.noise), rng)
    assert wrong not in found.known.members
    assert len(found.known.members) == N
    instead = found.known.members[0]
    assert found.known.labels[instead] == right
    np.testing.assert_allclose(found.known.images[instead], found.known.images[wrong], atol=0.01)


def test_without_what_it_needs_the_fit_changes_nothing(batch, forgetful, rng, monkeypatch):
    search, found = forgetful
    members, images = list(found.known.members), len(found.known.images)
    monkeypatch.setattr("gradleak.attacks.span.joint_fit._LARGEST", 1000)
    joint_search.bring_to_light(search, found, subspace.of_matrix(batch.matrix, batch.noise), rng)
    assert (found.known.members, len(found.known.images)) == (members, images)
    monkeypatch.undo()
    found.samples = 1000  # as after clipping: more members than the layer has directions
    joint_search.bring_to_light(search, found, subspace.of_matrix(batch.matrix, batch.noise), rng)
    assert (found.known.members, len(found.known.images)) == (members, images)


def test_where_nobody_is_hidden_nobody_comes_to_light(batch, forgetful, rng):
    search, found = forgetful
    joint_search.bring_to_light(
        search, found, subspace.of_matrix(batch.matrix, batch.noise), rng, nobody=True
    )
    assert found.known.members == []


def test_a_fit_that_was_stopped_goes_on_to_the_same_end(batch, forgetful, tmp_path, monkeypatch):
    search, start = forgetful
    monkeypatch.setattr(search, "_hides", lambda *_: True)
    monkeypatch.setattr(Joint, "explained", lambda *_: False)  # so that some are set free, and found again
    find = search.searched

    def first(matrix, *rest, **named):
        """The forgetful search of all, but the real one of what is left."""
        return copy.deepcopy(start) if matrix is batch.matrix else find(matrix, *rest, **named)

    def rest_alone(matrix, *rest, **named):
        assert matrix is not batch.matrix
        return find(matrix, *rest, **named)

    def stop(text, *values):
        if "fit together" in text and values[2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(search, "searched", first)
    whole = search.take_apart(batch.matrix, batch.noise, np.random.default_rng(3))
    kept = Kept(tmp_path, "this one")
    with pytest.raises(KeyboardInterrupt):
        search.take_apart(batch.matrix, batch.noise, np.random.default_rng(3), stop, kept=kept)
    monkeypatch.setattr(search, "searched", rest_alone)
    resumed = search.take_apart(batch.matrix, batch.noise, np.random.default_rng(99), kept=kept)
    assert resumed.samples == whole.samples
    assert resumed.unexplained == whole.unexplained
    for name, column in vars(whole.candidates).items():
        np.testing.assert_array_equal(getattr(resumed.candidates, name), column, err_msg=name)
    monkeypatch.setattr("gradleak.attacks.span.checkpoint.fields", lambda _: [])  # as of another version
    assert Kept(tmp_path, "this one").load(start, rng=np.random.default_rng(0)) is None


def test_nobody_cannot_be_fitted(batch):
    joint = Joint(batch.host, subspace.of_matrix(batch.matrix, batch.noise), N // 2)  # room for all of them
    known = joint.known(batch.x, batch.y, np.full(N, 1e-6))
    assert joint.possible(known)
    assert not joint.possible(known.chosen(np.zeros(N, bool)))


def test_hidden_members_weigh_n_and_lie_tenfold_deeper_than_the_control(batch):
    whole = subspace.of_matrix(batch.matrix, batch.noise)
    judged = judge(
        batch.host,
        whole,
        batch.host.features(np.concatenate([batch.x, batch.public[:20]]).astype(float)).numpy(),
    )
    assert membership.hidden_members(judged, N, 0.0).tolist() == [True] * N + [False] * 20
    unsure = dataclasses.replace(
        judged,
        normalised_residual=np.full(N + 20, np.inf),
        weight=np.full(N + 20, 1.4 * N),
        uncertainty=np.full(N + 20, 0.2 * N),
    )
    least = 10.1 * judged.residual[10]
    assert membership.hidden_members(unsure, N, least).tolist() == (judged.residual < 0.1 * least).tolist()
    assert membership.hidden_members(unsure, N, 0.7 * least, near=np.full(N + 20, True))[10]
    assert not membership.hidden_members(
        dataclasses.replace(unsure, weight=np.full(N + 20, 1.6 * N)), N, least
    ).any()
    assert not membership.hidden_members(
        dataclasses.replace(unsure, uncertainty=np.full(N + 20, 0.4 * N)), N, least, near=True
    ).any()


@pytest.mark.parametrize(
    ("normalised_residual", "margin", "hidden"), [(1.5, 1.0, True), (3.0, 1.0, False), (3.0, 200.0, True)]
)
def test_of_a_vague_label_hidden_members_are_in_the_span_to_the_noise(
    batch, normalised_residual, margin, hidden
):
    judged = judge(
        batch.host,
        subspace.of_matrix(batch.matrix, batch.noise),
        batch.host.features(batch.x.astype(float)).numpy(),
    )
    columns = {
        "normalised_residual": normalised_residual,
        "label_margin": margin,
        "weight": float(N),
        "uncertainty": 0.1,
    }
    judged = dataclasses.replace(judged, **{name: np.full(N, value) for name, value in columns.items()})
    assert membership.members(judged, N).all()
    assert (membership.hidden_members(judged, N, 0.0) == hidden).all()


def test_a_wrong_label_is_the_one_under_which_an_image_does_not_weigh_n(batch, joint, monkeypatch):
    monkeypatch.setattr(joint, "noise", lambda _: batch.noise)  # as where all others have made up for them
    images = np.concatenate([batch.x[:6], batch.public[:1]])
    labels = np.array([*batch.y[:6], 3])
    wrong = labels.copy()
    wrong[[1, 4]] = (wrong[[1, 4]] + 1) % 10
    known = joint.known(images, wrong, np.full(7, 1e-6))
    assert (
        joint.relabelled(known).labels.tolist() == labels.tolist()
    )  # a stranger weighs N under none, and keeps its own
    assert known.labels.tolist() == wrong.tolist()


def test_a_label_changes_only_where_the_weight_surely_says_another():
    weight, sure = np.array([90.0, 300.0, 120.0, -50.0]), np.full(4, 1.0)
    assert membership.label_by_weight(1, weight, sure, 100) == 0
    assert membership.label_by_weight(2, weight, sure, 100) == 2
    assert membership.label_by_weight(1, weight, np.array([31.0, 1.0, 1.0, 1.0]), 100) == 2
    assert membership.label_by_weight(1, weight, np.full(4, 31.0), 100) == 1


def test_under_a_given_label_an_image_is_judged_by_that(batch):
    whole = subspace.of_matrix(batch.matrix, batch.noise)
    free = certify(batch.host, whole, batch.x)
    assert (free.label == batch.y).all()
    for name, column in vars(certify(batch.host, whole, batch.x, batch.y)).items():
        np.testing.assert_array_equal(column, getattr(free, name), err_msg=name)
    wrong = certify(batch.host, whole, batch.x, (batch.y + 1) % 10)
    assert (wrong.label_margin < 1).all()
    assert (np.abs(wrong.weight - N) > 0.5 * N).any()
