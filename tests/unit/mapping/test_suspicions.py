"""Noise, clipping, dropped entries and number formats are suspected, with their size."""

import numpy as np
import pytest
from mapped import simulated

from gradleak.artifacts.leak import Leak
from gradleak.mapping import suspicions
from gradleak.mapping.head import Head


@pytest.fixture
def changed(digits):
    """Leaks of simulated clients, each delta changed by a function."""

    def make(draws=2, change=lambda arrays: arrays, **options):
        *_, leaks = simulated(digits, range(draws), **options)
        return [
            Leak(
                k.model_json,
                k.before,
                dict(zip(k.delta, change(list(k.delta.values())), strict=True)),
                k.meta,
            )
            for k in leaks
        ]

    return make


@pytest.fixture
def report(settle):
    return lambda leaks, **claims: settle(leaks, **claims).report


def noisy(sigma):
    rng = np.random.default_rng(0)
    return lambda arrays: [(a + rng.normal(0, sigma, a.shape)).astype(np.float32) for a in arrays]


def test_noise_is_suspected_with_its_size_and_bounds_the_rank(changed, report):
    assert report(changed())["noise"]["value"] == 0
    found = report(changed(change=noisy(1e-4)), sign="after_minus_before")
    assert found["noise"]["value"] == pytest.approx(1e-4, rel=0.2)
    assert max(found["ranks"][1]["ranks"]) <= 8
    assert found["optimizer"]["value"] != "adam"


@pytest.mark.parametrize("sigma", [1e-3, 1e-1])
def test_noise_alone_never_passes_for_adam(changed, report, sigma):
    assert report(changed(change=noisy(sigma)), sign="after_minus_before")["optimizer"]["value"] == "unknown"


def test_adam_is_not_taken_for_noise(changed, report):
    found = report(changed(optimizer="adam", learning_rate=0.001, local_steps=4))
    assert found["noise"]["value"] == 0
    assert found["optimizer"]["value"] == "adam"


def test_clipping_sparsification_and_half_precision_are_suspected(changed, report):
    def clip(arrays):
        norm = np.sqrt(sum((a.astype(float) ** 2).sum() for a in arrays))
        return [(a * (0.5 / norm)).astype(np.float32) for a in arrays]

    def sparsify(arrays):
        return [np.where(np.abs(a) >= np.quantile(np.abs(a), 0.9), a, 0) if a.ndim > 1 else a for a in arrays]

    assert report(changed())["clipping"]["value"] == 0
    assert report(changed(change=clip))["clipping"]["value"] == pytest.approx(0.5, rel=1e-4)
    assert report(changed(1, change=clip))["clipping"]["value"] == pytest.approx(0.5, rel=1e-4)
    assert report(changed())["sparsity"]["value"] == 0
    assert report(changed(1, change=sparsify), sign="after_minus_before")["sparsity"]["value"] > 0.5
    half = report(changed(1, change=lambda arrays: [a.astype(np.float16).astype(np.float32) for a in arrays]))
    assert half["precision"]["value"] == "float16"
    assert max(half["ranks"][1]["ranks"]) <= 8


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_clipping_by_entry_is_suspected_and_is_no_adaptive_optimizer(changed, report, share):
    def clip(arrays):
        sizes = np.concatenate([np.abs(a[a != 0]) for a in arrays])
        limit = np.float32(np.quantile(sizes, 1 - share))
        return [np.clip(a, -limit, limit) for a in arrays]

    found = report(changed(1, change=clip))
    assert found["entry_clipping"]["value"] > 0
    assert found["optimizer"]["value"] == "unknown"
    assert found["samples"]["images_times_steps_at_least"] is None


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adam", "learning_rate": 1e-3}, {"optimizer": "adam", "learning_rate": 1e-2}],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 3])
def test_no_optimizer_is_taken_for_clipping_or_dropping(changed, report, options, steps):
    found = report(changed(local_steps=steps, **options))
    assert found["entry_clipping"]["value"] == 0
    assert found["sparsity"]["value"] == 0
    assert "step" not in found["optimizer"]["evidence"]  # their number does not show


def test_a_few_dropped_entries_are_found_and_add_no_images(changed, report):
    def sparsify(arrays):
        return [np.where(np.abs(a) >= np.quantile(np.abs(a[a != 0]), 0.3), a, 0) for a in arrays]

    found = report(changed(1, change=sparsify), sign="after_minus_before")
    assert found["sparsity"]["value"] > 0
    assert found["samples"]["images_times_steps_at_least"] is None


def test_a_zero_update_is_of_no_precision_and_no_noise():
    zeros = [np.zeros((1, 30, 10), np.float32)]
    assert suspicions.find_precision(zeros).value == "float32"
    assert suspicions.find_noise(zeros, [np.ones((30, 10))], Head(0, None, "last"), 1.0).value == 0
    assert suspicions.find_clipping(zeros).value == 0
