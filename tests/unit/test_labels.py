"""Label methods on last layers whose labels are known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from gradleak.labels import METHODS, Options
from gradleak.labels.evidence import Evidence, NotApplicable, project, softmax

WIDTH, CLASSES = 12, 10
COUNTS = {
    "one": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    "few": [3, 0, 0, 1, 0, 0, 0, 4, 0, 0],
    "one class": [0, 0, 0, 0, 0, 0, 0, 0, 32, 0],
    "all": [1, 2, 3, 4, 5, 6, 7, 2, 1, 1],
}


def leaked(counts, rng, noise=0.0, scale=0.02, spread=None):
    """The evidence of a batch whose features are alike (an untrained net): non-negative, plus ``noise`` of each.

    spread: a (C, C) confusion of the net instead; its features are then told apart by class.
    """
    counts = np.asarray(counts)
    labels = np.repeat(np.arange(CLASSES), counts)
    weight, bias = rng.normal(0, scale, (WIDTH, CLASSES)), rng.normal(0, scale, CLASSES)
    features = np.abs(rng.normal(1, 0.3, WIDTH)) + noise * np.abs(rng.normal(size=(len(labels), WIDTH)))
    probabilities = softmax(features @ weight + bias) if spread is None else spread[labels]
    signal = probabilities - np.eye(CLASSES)[labels]
    public = np.repeat(softmax(features[:1] @ weight + bias), CLASSES, axis=0) if spread is None else spread
    return Evidence(weight, bias, features.T @ signal / len(labels), signal.mean(axis=0), public, len(labels))


@pytest.mark.parametrize("method", ["rank1", "aux_mean"])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_are_exact_where_all_features_are_alike(method, counts, rng):
    estimate = METHODS[method](leaked(counts, rng))
    np.testing.assert_array_equal(estimate.counts, counts)
    np.testing.assert_allclose(estimate.raw, counts, atol=1e-6 * sum(counts))


@pytest.mark.parametrize("method", ["rank1", "aux_mean"])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_counts_are_exact_on_a_nearly_untrained_net(method, counts, rng):
    np.testing.assert_array_equal(METHODS[method](leaked(counts, rng, noise=0.1)).counts, counts)


def test_aux_mean_reads_through_the_confusion_of_a_trained_net(rng):
    spread = softmax(rng.normal(0, 1, (CLASSES, CLASSES)) + 2 * np.eye(CLASSES))
    estimate = METHODS["aux_mean"](leaked(COUNTS["all"], rng, spread=spread))
    np.testing.assert_array_equal(estimate.counts, COUNTS["all"])


@pytest.mark.parametrize("label", range(CLASSES))
def test_idlg_finds_the_label_of_one_image(label, rng):
    counts = np.eye(CLASSES, dtype=int)[label]
    np.testing.assert_array_equal(METHODS["idlg"](leaked(counts, rng, noise=0.5)).counts, counts)


def test_idlg_shares_the_images_among_the_classes_that_it_finds(rng):
    estimate = METHODS["idlg"](leaked(COUNTS["few"], rng))
    np.testing.assert_allclose(estimate.raw[[0, 3, 7]], 8 / 3)
    assert set(np.flatnonzero(estimate.counts)) == {0, 3, 7}
    assert estimate.counts.sum() == 8


def test_idlg_always_finds_some_class(rng):
    evidence = leaked(COUNTS["few"], rng)
    nothing = replace(evidence, grad_weight=np.abs(evidence.grad_weight))
    assert METHODS["idlg"](nothing).counts.sum() == 8


def test_uniform_knows_nothing(rng):
    first, second = (METHODS["uniform"](leaked(COUNTS[name], rng)) for name in ("one class", "one class"))
    np.testing.assert_allclose(first.raw, 3.2)
    assert first.counts.sum() == 32
    assert first.counts.max() - first.counts.min() == 1
    np.testing.assert_array_equal(first.counts, second.counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_every_estimate_is_counts_that_sum_to_n(method, counts, rng):
    evidence = leaked(counts, rng, noise=1.0, scale=1.0)
    estimate = METHODS[method](evidence)
    assert estimate.counts.dtype.kind == "i"
    assert estimate.counts.shape == estimate.raw.shape == (CLASSES,)
    assert estimate.counts.min() >= 0
    assert estimate.counts.sum() == evidence.samples


@pytest.mark.parametrize("method", METHODS)
def test_float32_evidence_gives_the_same_counts(method, rng):
    evidence = leaked(COUNTS["few"], rng)
    single = Evidence(*(a.astype(np.float32) for a in list(vars(evidence).values())[:5]), evidence.samples)
    np.testing.assert_array_equal(METHODS[method](single).counts, METHODS[method](evidence).counts)


@pytest.mark.parametrize("method", ["rank1", "aux_mean"])
def test_methods_that_read_the_bias_say_so_where_there_is_none(method, rng):
    evidence = replace(leaked(COUNTS["few"], rng), bias=None, grad_bias=None)
    with pytest.raises(NotApplicable, match="no bias"):
        METHODS[method](evidence)


@pytest.mark.parametrize("method", ["idlg", "uniform"])
def test_the_others_need_no_bias(method, rng):
    evidence = replace(leaked(COUNTS["few"], rng), bias=None, grad_bias=None, public_softmax=None)
    assert METHODS[method](evidence).counts.sum() == 8


def test_aux_mean_needs_public_data(rng):
    with pytest.raises(NotApplicable, match="public data"):
        METHODS["aux_mean"](replace(leaked(COUNTS["few"], rng), public_softmax=None))


def test_rank1_does_not_divide_by_a_zero_gradient(rng):
    evidence = leaked(COUNTS["few"], rng)
    with pytest.raises(NotApplicable, match="zero"):
        METHODS["rank1"](replace(evidence, grad_bias=np.zeros(CLASSES)))


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


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])
