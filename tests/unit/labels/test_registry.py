"""All label methods on last layers whose labels are known, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from last_layers import CLASSES, COUNTS, leaked, stacked

from gradleak.labels.evidence import (
    Client,
    NotApplicable,
)
from gradleak.labels.registry import METHODS, recover

EXACT = ["ilrg", "rank1", "rank1_weighted", "aux_mean", "plra", "soft_label", "rlu", "dimitrov", "wang"]
LEARNT = ["linear", "fixed_point", "posterior", "auto"]


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
def test_learnt_methods_recover_most_on_a_nearly_untrained_net(method, rng, few_shadow_clients):
    estimate = recover(method, leaked(COUNTS["all"], rng, noise=0.05))
    assert np.minimum(estimate.counts[0], COUNTS["all"]).sum() >= 28


@pytest.mark.parametrize("method", ["aux_mean", "soft_label", "linear"])
def test_methods_with_public_data_read_through_the_confusion_of_a_trained_net(
    method, rng, few_shadow_clients
):
    spread = rng.normal(0, 1, (CLASSES, CLASSES)) + 2 * np.eye(CLASSES)
    evidence = leaked(COUNTS["all"], rng, spread=spread)
    np.testing.assert_array_equal(recover(method, evidence).counts[0], COUNTS["all"])


@pytest.mark.parametrize("label", range(CLASSES))
@pytest.mark.parametrize("method", ["idlg", "gradinversion", "rlg", "llg", "ebi"])
def test_one_image_has_its_label_found(method, label, rng):
    counts = np.eye(CLASSES, dtype=int)[label]
    np.testing.assert_array_equal(recover(method, leaked(counts, rng, noise=0.5)).counts[0], counts)


def test_baselines_do_not_use_the_gradient(rng):
    for method in ("uniform", "aux_prior"):
        estimate = recover(method, leaked(COUNTS["one class"], rng))
        np.testing.assert_allclose(estimate.raw[0], 3.2)
        assert estimate.counts.max() - estimate.counts.min() == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_every_estimate_is_counts_that_sum_to_n(method, counts, rng, few_shadow_clients):
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
def test_what_a_method_cannot_do_is_refused_with_the_reason(method, rng, few_shadow_clients):
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
    if able.reads_gradient:
        with pytest.raises(NotApplicable, match="smoothed its labels"):
            recover(method, replace(evidence, is_smoothed=True))
    else:
        assert recover(method, replace(evidence, is_smoothed=True)).counts.sum() == 8
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
