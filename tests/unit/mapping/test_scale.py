"""The scale: learning rate × steps × client weight, checked by the update."""

import numpy as np
import pytest
from mapped import simulated

from gradleak.artifacts.leak import Leak
from gradleak.mapping.classifier import look_at
from gradleak.mapping.scale import Estimate, absent_class_scale, find_scale


@pytest.fixture(scope="module")
def scale_under(fedsgd, public):
    """Metadata → the scale found for the updates of ``fedsgd``."""
    _, model, _, leaks = fedsgd
    deltas = [np.stack(arrays) for arrays in zip(*(leak.delta.values() for leak in leaks), strict=True)]
    estimate = absent_class_scale(deltas, look_at(model, *public), 1.0)
    return lambda meta: find_scale(estimate, "auto", meta)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"learning_rate": 0.05}, 0.05),
        ({"learning_rate": 0.05, "local_steps": 4}, 0.2),
        ({"learning_rate": 0.05, "local_steps": 4, "client_weight": 0.5}, 0.1),
        ({"learning_rate": 0.05, "local_steps": 1, "momentum": 0.9}, 0.05),
        ({"learning_rate": 0.1, "local_steps": 3, "momentum": 0.5}, 0.1 * (1 + 1.5 + 1.75)),
        ({"learning_rate": 1, "local_steps": 2, "optimizer": "sgd", "momentum": 0.0}, 2.0),
        ({"learning_rate": 0.05, "local_steps": 1, "optimizer": "momentum"}, 0.05),
        ({"learning_rate": 0.025, "local_steps": 1, "optimizer": "nesterov", "momentum": 0.9}, 0.0475),
    ],
)
def test_the_scale_is_rate_times_effective_steps_times_weight(scale_under, meta, expected):
    assert scale_under(meta).value == pytest.approx(expected)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"learning_rate": "fast"},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"learning_rate": True},
        {"learning_rate": 0.05, "local_steps": 10**400},
        {"learning_rate": 0.05, "local_steps": None},
        {"learning_rate": 0.05, "momentum": 1.0},
        {"learning_rate": 0.05, "momentum": "heavy"},
        {"learning_rate": 0.05, "client_weight": None},
        {"learning_rate": 0.05, "client_weight": [1]},
        {"learning_rate": 0.05, "optimizer": "adam"},
        {"learning_rate": 0.05, "optimizer": "adamw"},
        {"learning_rate": 0.05, "optimizer": "lion"},
        {"learning_rate": 0.05, "optimizer": None},
        {"learning_rate": 0.05, "optimizer": "momentum", "local_steps": 3},
        {"learning_rate": 0.05, "momentum": None},
    ],
    ids=str,
)
def test_metadata_that_make_no_sense_are_not_used(scale_under, meta):
    found = scale_under(meta)
    assert found.value == pytest.approx(0.05, rel=0.5)  # from the update itself
    assert found.value == found.estimate


def test_many_steps_in_the_metadata_are_no_work(scale_under):
    meta = {"learning_rate": 1e-9, "local_steps": 10**15, "momentum": 0.5}
    assert scale_under(meta).value == pytest.approx(2e6)


def test_a_claimed_scale_is_used(fedsgd, settle):
    plain, claimed = settle(fedsgd[3]), settle(fedsgd[3], scale=0.5)
    for one, other in zip(plain.gradients, claimed.gradients, strict=True):
        np.testing.assert_allclose(other, one * (0.05 / 0.5), rtol=1e-5)


def test_a_scale_that_contradicts_the_update_is_noted(fedsgd, settle):
    leaks = [Leak(k.model_json, k.before, k.delta, k.meta | {"learning_rate": 5.0}) for k in fedsgd[3]]
    scale = settle(leaks).report["scale"]
    assert "contradict" in scale["evidence"]
    (contradiction,) = scale["contradicts"]
    assert (contradiction["source"], contradiction["stated"]) == ("metadata", 5.0)
    assert "contradict" not in settle(fedsgd[3]).report["scale"]["evidence"]
    assert settle(fedsgd[3]).report["scale"]["contradicts"] == []


@pytest.mark.parametrize(
    ("factor", "what"),
    [(20.0, "the gradient itself"), (0.5, "half the loss"), (8.0, "the sum over eight images")],
)
def test_a_delta_of_another_size_than_stated_is_used_as_it_is(fedsgd, settle, factor, what):
    """The metadata state a rate of 0.05 and one step; the update of an untrained model shows its scale."""
    leaks = [
        Leak(k.model_json, k.before, {n: np.float32(factor) * a for n, a in k.delta.items()}, k.meta)
        for k in fedsgd[3]
    ]
    scale = settle(leaks).report["scale"]
    assert scale["value"] == pytest.approx(0.05 * factor, rel=0.1)
    assert scale["value"] == scale["estimate"]
    assert scale["contradicts"][0]["stated"] == pytest.approx(0.05)
    assert scale["confidence"] <= 0.3


@pytest.mark.parametrize(("steps", "contradicts"), [(1, True), (2, False), (30, False)])
def test_a_small_estimate_contradicts_a_single_step_alone(steps, contradicts):
    """Probabilities of absent classes fall during local training, and the estimate with them."""
    meta = {"learning_rate": 1.0 / steps, "local_steps": steps}
    assert bool(find_scale(Estimate(0.2, 0.03), "auto", meta).contradicts) == contradicts


def test_the_confidence_of_an_estimate_follows_from_its_error():
    confidence = [find_scale(Estimate(0.05, error), "auto", {}).confidence for error in (0.03, 0.3, 0.8)]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[-1] <= 0.3


def test_a_trained_model_gives_an_estimate_with_a_large_error(digits, settle):
    *_, leaks = simulated(digits, pretrain_epochs=5)
    leaks = [Leak(k.model_json, k.before, k.delta, {"samples": 8}) for k in leaks]
    scale = settle(leaks).report["scale"]
    assert scale["error"] >= 0.3
    assert scale["confidence"] <= 0.45
