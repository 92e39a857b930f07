"""Label methods on last layers whose labels are known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from gradleak.labels import members
from gradleak.labels.evidence import (
    LEVELS,
    Client,
    Evidence,
    Members,
    NotApplicable,
    Public,
    Rounds,
    project,
    simplex,
    softmax,
)
from gradleak.labels.registry import METHODS, Options, recover
from gradleak.labels.simulated import auto, correction, posterior, virtual

WIDTH, CLASSES = 12, 10
COUNTS = {
    "one": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    "few": [3, 0, 0, 1, 0, 0, 0, 4, 0, 0],
    "one class": [0, 0, 0, 0, 0, 0, 0, 0, 32, 0],
    "all": [1, 2, 3, 4, 5, 6, 7, 2, 1, 1],
}
EXACT = ["ilrg", "rank1", "rank1_weighted", "aux_mean", "plra", "soft_label", "rlu", "dimitrov", "wang"]
LEARNT = ["linear", "fixed_point", "posterior", "auto"]


def leaked(counts, rng, noise=0.0, scale=0.02, spread=None, public_images=200):
    """The evidence of a batch whose features are alike (an untrained net): non-negative, plus ``noise`` of each.

    spread: a (C, C) matrix of logits that the classes get instead: its features are told apart by class.
    """
    counts = np.asarray(counts)
    labels = np.repeat(np.arange(CLASSES), counts)
    weight, bias = rng.normal(0, scale, (WIDTH, CLASSES)), rng.normal(0, scale, CLASSES)
    common = np.abs(rng.normal(1, 0.3, WIDTH))
    means = np.tile(common, (CLASSES, 1))
    if spread is not None:
        means = np.abs(rng.normal(1, 0.5, (CLASSES, WIDTH)))
        weight = np.linalg.lstsq(means, spread - bias, rcond=None)[0]

    def features(of):
        return means[of] + noise * np.abs(rng.normal(size=(len(of), WIDTH)))

    weight_gradient, bias_gradient = gradient(features(labels), labels, weight, bias)
    public_labels = np.arange(public_images) % CLASSES
    public = Public(
        features(public_labels),
        public_labels,
        np.arange(public_images) // CLASSES % 2,
        np.tile(common, (5, 1)),
    )
    return Evidence(weight, bias, weight_gradient[None], bias_gradient[None], len(labels), public)


def gradient(features, labels, weight, bias):
    signal = softmax(features @ weight + bias) - np.eye(CLASSES)[labels]
    return features.T @ signal / len(labels), signal.mean(axis=0)


@pytest.fixture
def few_rounds(monkeypatch):
    monkeypatch.setattr(virtual, "ROUNDS", 60)
    monkeypatch.setattr(auto, "TRIED", 10)
    for trees in (posterior.TREES, correction.TREES):
        monkeypatch.setitem(trees, "max_iter", 40)


def stacked(*all_evidence):
    """Draws of one model as one stack."""
    return replace(
        all_evidence[0],
        grad_weight=np.concatenate([e.grad_weight for e in all_evidence]),
        grad_bias=np.concatenate([e.grad_bias for e in all_evidence]),
    )


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_are_exact_where_all_features_are_alike(method, counts, rng):
    estimate = recover(method, leaked(counts, rng))
    np.testing.assert_array_equal(estimate.counts[0], counts)
    np.testing.assert_allclose(estimate.raw[0], counts, atol=0.3)


@pytest.mark.parametrize("method", ["rank1", "rank1_weighted", "aux_mean", "plra"])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_are_exact_on_a_nearly_untrained_net(method, counts, rng):
    np.testing.assert_array_equal(recover(method, leaked(counts, rng, noise=0.1)).counts[0], counts)


@pytest.mark.parametrize("method", LEARNT)
def test_learnt_methods_recover_most_on_a_nearly_untrained_net(method, rng, few_rounds):
    estimate = recover(method, leaked(COUNTS["all"], rng, noise=0.05))
    assert np.minimum(estimate.counts[0], COUNTS["all"]).sum() >= 28


@pytest.mark.parametrize("method", ["aux_mean", "soft_label", "linear"])
def test_methods_with_public_data_read_through_the_confusion_of_a_trained_net(method, rng, few_rounds):
    spread = rng.normal(0, 1, (CLASSES, CLASSES)) + 2 * np.eye(CLASSES)
    evidence = leaked(COUNTS["all"], rng, spread=spread)
    np.testing.assert_array_equal(recover(method, evidence).counts[0], COUNTS["all"])


@pytest.mark.parametrize("label", range(CLASSES))
@pytest.mark.parametrize("method", ["idlg", "gradinversion", "rlg", "llg", "ebi"])
def test_one_image_has_its_label_found(method, label, rng):
    counts = np.eye(CLASSES, dtype=int)[label]
    np.testing.assert_array_equal(recover(method, leaked(counts, rng, noise=0.5)).counts[0], counts)


def test_idlg_shares_the_images_among_the_classes_that_it_finds(rng):
    estimate = recover("idlg", leaked(COUNTS["few"], rng))
    np.testing.assert_allclose(estimate.raw[0, [0, 3, 7]], 8 / 3)
    assert set(np.flatnonzero(estimate.counts[0])) == {0, 3, 7}
    assert estimate.counts.sum() == 8


def test_idlg_always_finds_some_class(rng):
    evidence = leaked(COUNTS["few"], rng)
    nothing = replace(evidence, grad_weight=np.abs(evidence.grad_weight))
    assert recover("idlg", nothing).counts.sum() == 8


def test_rlg_finds_the_set_of_a_few_distinct_images(rng):
    evidence = leaked([1, 0, 1, 0, 0, 0, 0, 1, 0, 0], rng, noise=1.0, scale=0.5)
    np.testing.assert_array_equal(recover("rlg", evidence).counts[0], [1, 0, 1, 0, 0, 0, 0, 1, 0, 0])


def test_the_greedy_extraction_gives_out_each_label_by_its_impact():
    from gradleak.labels.methods.greedy import extract

    signal = np.array([[-0.3, -0.1, 0.05, 0.2]])
    np.testing.assert_array_equal(extract(signal, -0.1, 4).counts, [[3, 1, 0, 0]])
    np.testing.assert_array_equal(extract(signal, -0.1, 1).counts, [[1, 0, 0, 0]])
    # The offset of the third class makes it the lowest once the negative ones are served.
    offset = np.array([0, 0, 0.45, 0])
    np.testing.assert_array_equal(extract(signal, -0.1, 4, offset).counts, [[1, 1, 2, 0]])


def test_the_fixed_point_follows_the_drift_of_the_mean_softmax(rng):
    """Rounds whose p̄ moves with the composition: what a fixed p̄ gets wrong, the fixed point solves."""
    counts = rng.multinomial(20, rng.dirichlet(np.full(CLASSES, 0.5), 400))
    drift = softmax(3 * counts / 20)
    evidence = replace(
        leaked(COUNTS["few"], rng),
        samples=20,
        client=Client(steps=10),
        grad_weight=np.zeros((50, WIDTH, CLASSES)),
        grad_bias=(drift - counts / 20)[:50],
    )
    rounds = Rounds(
        counts[50:], np.zeros((350, WIDTH, CLASSES)), (drift - counts / 20)[50:], np.arange(350) % 2
    )
    found = recover("fixed_point", replace(evidence, public=replace(evidence.public, rounds=rounds)))
    assert np.minimum(found.counts, counts[:50]).sum() / 1000 > 0.96
    plain = recover("aux_mean", evidence)
    assert np.minimum(plain.counts, counts[:50]).sum() < np.minimum(found.counts, counts[:50]).sum()


def test_baselines_know_nothing(rng):
    for method in ("uniform", "aux_prior"):
        estimate = recover(method, leaked(COUNTS["one class"], rng))
        np.testing.assert_allclose(estimate.raw[0], 3.2)
        assert estimate.counts.max() - estimate.counts.min() == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_every_estimate_is_counts_that_sum_to_n(method, counts, rng, few_rounds):
    evidence = leaked(counts, rng, noise=1.0, scale=1.0)
    if not METHODS[method].duplicates and evidence.samples > CLASSES:
        return  # refused, see below
    estimate = recover(method, evidence)
    assert estimate.counts.dtype.kind == "i"
    assert estimate.counts.shape == estimate.raw.shape == (1, CLASSES)
    assert estimate.counts.min() >= 0
    assert estimate.counts.sum() == estimate.samples[0] == evidence.samples


@pytest.mark.parametrize("method", [m for m in METHODS if m not in LEARNT and METHODS[m].duplicates])
def test_a_stack_gives_what_its_draws_give_alone(method, rng):
    first = leaked(COUNTS["few"], rng, noise=0.3)
    other = replace(first, grad_weight=first.grad_weight[:, :, ::-1], grad_bias=first.grad_bias[:, ::-1])
    both = recover(method, stacked(first, other))
    for draw, alone in enumerate((first, other)):
        np.testing.assert_array_equal(both.counts[draw], recover(method, alone).counts[0])


@pytest.mark.parametrize("method", [m for m in METHODS if m not in LEARNT and METHODS[m].duplicates])
def test_float32_evidence_gives_the_same_counts(method, rng):
    evidence = leaked(COUNTS["few"], rng, noise=0.01)
    single = replace(
        evidence,
        **{
            name: getattr(evidence, name).astype(np.float32)
            for name in ("weight", "bias", "grad_weight", "grad_bias")
        },
    )
    np.testing.assert_array_equal(recover(method, single).counts, recover(method, evidence).counts)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_cannot_do_is_refused_with_the_reason(method, rng, few_rounds):
    evidence, able = leaked(COUNTS["few"], rng, noise=0.1), METHODS[method]
    if able.bias:
        with pytest.raises(NotApplicable, match="no bias"):
            recover(method, replace(evidence, bias=None, grad_bias=None))
    else:
        assert recover(method, replace(evidence, bias=None, grad_bias=None)).counts.sum() == 8
    if able.public:
        with pytest.raises(NotApplicable, match="public data"):
            recover(method, replace(evidence, public=None))
    elif not able.dummy:
        assert recover(method, replace(evidence, public=None)).counts.sum() == 8
    if able.settings:
        with pytest.raises(NotApplicable, match="settings"):
            recover(method, replace(evidence, client=None))
    if not able.multi_step:
        with pytest.raises(NotApplicable, match="one step"):
            recover(method, replace(evidence, client=Client(steps=10)))
    if not able.unknown_n:
        with pytest.raises(NotApplicable, match="number of images"):
            recover(method, replace(evidence, samples=None))


def test_methods_for_distinct_labels_refuse_more_images_than_classes(rng):
    for method in ("gradinversion", "rlg"):
        with pytest.raises(NotApplicable, match="32"):
            recover(method, leaked(COUNTS["all"], rng))


def test_rank1_does_not_divide_by_a_zero_gradient(rng):
    evidence = leaked(COUNTS["few"], rng)
    for method in ("rank1", "rank1_weighted", "ilrg"):
        with pytest.raises(NotApplicable, match="zero"):
            recover(method, replace(evidence, grad_bias=np.zeros((1, CLASSES))))


def batch_with_members(rng, known):
    """Evidence of 32 images of which the first ``known`` are told, and that of the others alone."""
    base = leaked(COUNTS["all"], rng, noise=1.0, scale=0.5)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), COUNTS["all"]))
    features = np.abs(rng.normal(1, 1, (32, WIDTH)))
    whole = gradient(features, labels, base.weight, base.bias)
    rest = gradient(features[known:], labels[known:], base.weight, base.bias) if known < 32 else whole
    told = members.gather(
        labels[:known], features[:known], base.logits(features[:known]), np.zeros(known, int), 1
    )
    evidence = replace(base, grad_weight=whole[0][None], grad_bias=whole[1][None], members=told)
    alone = replace(base, grad_weight=rest[0][None], grad_bias=rest[1][None], samples=32 - known)
    return evidence, alone, np.bincount(labels[:known], minlength=CLASSES)


@pytest.mark.parametrize("method", ["ilrg", "llg", "rank1_weighted", "posterior", "auto"])
def test_known_members_leave_the_update_of_the_others(method, rng, few_rounds):
    evidence, alone, told = batch_with_members(rng, 20)
    found, rest = recover(method, evidence), recover(method, alone)
    np.testing.assert_array_equal(found.counts, told + rest.counts)
    if rest.low is not None:
        np.testing.assert_array_equal(found.low, told + rest.low)
        np.testing.assert_array_equal(found.high, told + rest.high)
        np.testing.assert_allclose(found.expected_irec, (20 + 12 * rest.expected_irec) / 32)


def test_a_batch_that_is_known_whole_needs_no_method(rng):
    evidence, _, told = batch_with_members(rng, 32)
    np.testing.assert_array_equal(recover("uniform", evidence).counts[0], told)
    np.testing.assert_array_equal(recover("rank1", evidence).counts[0], COUNTS["all"])


def test_draws_of_a_stack_may_have_different_members(rng):
    (some, _, _), (none, _, _) = batch_with_members(rng, 20), batch_with_members(rng, 0)
    both = replace(
        some,
        grad_weight=np.concatenate([some.grad_weight] * 2),
        grad_bias=np.concatenate([some.grad_bias] * 2),
        members=Members(
            *(np.concatenate([getattr(e.members, f) for e in (some, none)]) for f in vars(some.members))
        ),
    )
    found = recover("llg", both)
    np.testing.assert_array_equal(found.counts[0], recover("llg", some).counts[0])
    np.testing.assert_array_equal(found.counts[1], recover("llg", replace(some, members=None)).counts[0])
    assert found.samples.tolist() == [32, 32]


def test_members_of_several_steps_bound_the_counts_from_below(rng):
    evidence, _, told = batch_with_members(rng, 20)
    found = recover("uniform", replace(evidence, client=Client(steps=10)))
    assert (found.counts >= told).all()
    assert found.counts.sum() == 32


def test_more_members_than_images_are_refused(rng):
    evidence, _, _ = batch_with_members(rng, 20)
    with pytest.raises(NotApplicable, match="20 images are said to be members of an update of 12"):
        recover("uniform", replace(evidence, samples=12))


# --- intervals and choice -----------------------------------------------------------------------------------------


def test_intervals_cover_and_nest(rng, few_rounds):
    spread = rng.normal(0, 1, (CLASSES, CLASSES)) + 3 * np.eye(CLASSES)
    first = leaked([3, 3, 3, 3, 3, 3, 3, 3, 3, 3], rng, noise=0.5, spread=spread)
    counts = rng.multinomial(30, rng.dirichlet(np.full(CLASSES, 0.5), 60))
    batches = [
        gradient(first.public.features[index], first.public.labels[index], first.weight, first.bias)
        for index in virtual.members_of(rng, counts, first.public.labels, np.arange(len(first.public.labels)))
    ]
    evidence = replace(
        first, grad_weight=np.stack([b[0] for b in batches]), grad_bias=np.stack([b[1] for b in batches])
    )
    estimate = recover("posterior", evidence)
    covered = ((estimate.low <= counts) & (counts <= estimate.high)).mean(axis=(1, 2))
    assert (covered > np.array(LEVELS) - 0.1).all()
    assert (np.diff(estimate.low, axis=0) <= 0).all()
    assert (np.diff(estimate.high, axis=0) >= 0).all()
    assert estimate.expected_irec.shape == (60,)


def test_a_correction_learns_how_far_to_trust_a_count(rng):
    """Predictions that are noise about an even guess are to be shrunk to it; exact ones are to be left alone."""
    even = rng.multinomial(100, np.full(CLASSES, 0.1), 600)
    uneven = rng.multinomial(100, rng.dirichlet(np.full(CLASSES, 0.2), 600))
    counts, fold = np.concatenate([even, uneven]), np.arange(1200) % 2
    noise = simplex(10 + rng.normal(0, 4, even.shape), 100)
    corrects, held_out = correction.fit(np.concatenate([noise, uneven]), counts, fold, 4)
    assert np.abs(held_out[:600] - 10).mean() < np.abs(noise - 10).mean() / 3
    assert np.abs(held_out[600:] - uneven).mean() < 0.7
    np.testing.assert_allclose(held_out.sum(axis=1), 100)
    again = corrects(simplex(10 + rng.normal(0, 4, (50, CLASSES)), 100))
    assert np.abs(again - 10).mean() < np.abs(noise - 10).mean() / 3


def test_auto_says_which_method_spoke_and_needs_no_public_data(rng, few_rounds):
    evidence = leaked(COUNTS["all"], rng, noise=0.1)
    estimate = recover("auto", evidence)
    assert set(estimate.chosen) <= set(METHODS)
    assert 0.5 < estimate.expected_irec[0] <= 1
    assert recover("auto", replace(evidence, public=None)).chosen == ("rank1_weighted",)


def test_what_was_learnt_from_virtual_rounds_is_learnt_once(rng, few_rounds, monkeypatch):
    evidence, learn, asked = leaked(COUNTS["all"], rng, noise=0.1), posterior._learn, []
    monkeypatch.setattr(
        posterior, "_learn", lambda evidence: asked.append(evidence.samples) or learn(evidence)
    )
    first = recover("posterior", evidence)
    recover("auto", evidence)
    again = recover("posterior", replace(evidence, public=replace(evidence.public)))
    np.testing.assert_array_equal(first.raw, again.raw)
    recover("posterior", replace(evidence, samples=evidence.samples + 1))
    assert asked == [evidence.samples, evidence.samples, evidence.samples + 1]


def test_virtual_rounds_keep_to_their_half_of_the_public_images(rng):
    public = leaked(COUNTS["few"], rng).public
    counts = virtual.compositions(rng, 20, 30, CLASSES)
    assert (counts.sum(axis=1) == 30).all()
    index = virtual.members_of(rng, counts, public.labels, np.flatnonzero(public.fold == 1))
    assert (public.fold[index] == 1).all()
    found = np.stack([np.bincount(public.labels[row], minlength=CLASSES) for row in index])
    np.testing.assert_array_equal(found, counts)


def test_virtual_gradients_are_those_of_the_cross_entropy(rng):
    evidence = leaked(COUNTS["few"], rng, noise=0.5)
    index = rng.integers(0, len(evidence.public.labels), (5, 7))
    features, labels = evidence.public.features, evidence.public.labels
    weight, bias = virtual.gradients(features, evidence.logits(features), labels, index)
    for row, w, b in zip(index, weight, bias, strict=True):
        expected = gradient(features[row], labels[row], evidence.weight, evidence.bias)
        np.testing.assert_allclose(w, expected[0], atol=1e-6)
        np.testing.assert_allclose(b, expected[1], atol=1e-6)


# --- unknown number, sign and scale -------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [7, 16, 33])
def test_an_unknown_number_is_found_or_refused(samples, rng):
    right = wrong = 0
    for counts in rng.multinomial(samples, np.full(CLASSES, 0.1), 20):
        estimate = recover("rank1_weighted", replace(leaked(counts, rng, noise=0.02), samples=None))
        if not estimate.abstain[0]:
            right += estimate.samples[0] == samples
            wrong += estimate.samples[0] != samples
    assert wrong == 0
    assert right >= 15


def test_counts_with_a_common_divisor_are_not_mistaken_for_their_quotient(rng):
    estimate = recover("rank1", replace(leaked([16, 0, 0, 0, 16, 0, 0, 0, 0, 0], rng), samples=None))
    assert estimate.abstain[0]
    assert "common divisor" in estimate.reasons[0]


def test_shares_that_fit_no_number_abstain(rng):
    from gradleak.labels import unknown_scale

    estimate = unknown_scale.estimate(rng.dirichlet(np.full(CLASSES, 1.0), 50))
    assert estimate.abstain.all()
    assert all(estimate.reasons)


@pytest.mark.parametrize("factor", [0.05, -0.05, 3.0, -700.0])
def test_sign_and_scale_of_a_delta_are_found(factor, rng):
    from gradleak.labels import unknown_scale

    evidence = leaked([3, 0, 2, 1, 0, 4, 1, 2, 0, 0], rng, noise=0.02)
    scaled = replace(
        evidence, grad_weight=factor * evidence.grad_weight, grad_bias=factor * evidence.grad_bias
    )
    found = unknown_scale.find_scale(scaled)
    assert not found.abstain[0], found.reasons
    assert found.factor[0] == pytest.approx(factor, rel=0.05)


def test_no_absent_class_no_scale(rng):
    from gradleak.labels import unknown_scale

    found = unknown_scale.find_scale(leaked([3, 1, 2, 1, 5, 4, 1, 2, 3, 7], rng, noise=0.02))
    assert found.abstain[0]
    assert "absent" in found.reasons[0]


# --- several updates ----------------------------------------------------------------------------------------------


def test_rounds_of_one_client_are_weighed_by_their_certainty():
    from gradleak.labels import several_rounds

    raws = np.array([[[2.0, 6.0]], [[8.0, 0.0]]])
    np.testing.assert_array_equal(several_rounds.combine(raws, np.array([1e-3, 1.0]), 8).counts, [[2, 6]])
    np.testing.assert_allclose(several_rounds.combine(raws, np.ones(2), 8).raw, [[5, 3]])


def test_varying_participation_tells_clients_apart(rng):
    from gradleak.labels import several_rounds

    truth = rng.multinomial(16, rng.dirichlet(np.full(CLASSES, 0.3), 4))
    participation = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]])
    totals = participation @ truth + 0.1 * rng.normal(size=(5, CLASSES))
    found = several_rounds.unmix(totals, participation, np.full(4, 16))
    assert found.rank == 4
    assert found.known.all()
    np.testing.assert_array_equal(found.counts, truth)


def test_clients_that_always_come_together_are_not_told_apart(rng):
    from gradleak.labels import several_rounds

    truth = rng.multinomial(16, rng.dirichlet(np.full(CLASSES, 0.3), 3))
    participation = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]])
    found = several_rounds.unmix(participation @ truth, participation, np.full(3, 16))
    assert found.rank == 2
    assert found.known.tolist() == [False, False, True]
    assert "rank 2" in found.reasons[0]
    np.testing.assert_array_equal(found.counts[2], truth[2])
    np.testing.assert_array_equal(found.counts.sum(axis=1), [16, 16, 16])


def test_every_method_can_be_configured():
    for method in METHODS:
        assert Options(method=method).method == method


# --- projection ---------------------------------------------------------------------------------------------------


def all_counts(classes, samples):
    return np.array([c for c in itertools.product(range(samples + 1), repeat=classes) if sum(c) == samples])


@pytest.mark.parametrize("samples", [1, 4, 7])
@pytest.mark.parametrize("spread", [0.3, 2.0, 20.0])
def test_the_projection_is_the_nearest_count_vector(samples, spread, rng):
    candidates = all_counts(4, samples)
    for _ in range(50):
        raw = rng.normal(samples / 4, spread, 4)
        found = project(raw, samples)
        assert found.sum() == samples
        assert found.min() >= 0
        distances = np.square(candidates - raw).sum(axis=1)
        assert np.square(found - raw).sum() == pytest.approx(distances.min(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_project_onto_themselves(counts):
    np.testing.assert_array_equal(project(np.array(counts, float), sum(counts)), counts)
    np.testing.assert_array_equal(project(np.array(counts) + 1e-12, sum(counts)), counts)
    np.testing.assert_array_equal(project(np.array(counts) - 1e-12, sum(counts)), counts)


@pytest.mark.parametrize(
    "raw",
    [
        [np.nan] * 4,
        [np.inf, 0, 0, 0],
        [-np.inf, 0, 1, 0],
        [-np.inf] * 4,
        [1e30, 0, 0, 0],
        [1e300, -1e300, np.nan, np.inf],
        [-1e30, -2e30, -3e30, -4e30],
        [0, 0, 0, 0],
    ],
)
def test_the_projection_survives_anything(raw):
    found = project(np.array(raw), 5)
    assert found.sum() == 5
    assert found.min() >= 0


def test_a_class_that_outweighs_all_takes_all():
    np.testing.assert_array_equal(project(np.array([0.0, 1e30, 5.0]), 5), [0, 5, 0])


def test_the_simplex_projection_is_the_projection_row_by_row(rng):
    raw = rng.normal(2, 5, (40, 6))
    found = simplex(raw, 12)
    np.testing.assert_allclose(found.sum(axis=1), 12)
    assert found.min() >= 0
    # Optimality: what is kept was shifted by one amount, and what is cut lies below it.
    for before, after in zip(raw, found, strict=True):
        shift = (before - after)[after > 0]
        np.testing.assert_allclose(shift, shift[0])
        assert (before[after == 0] <= shift[0] + 1e-9).all()


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])
