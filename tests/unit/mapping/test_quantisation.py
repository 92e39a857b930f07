"""Quantised entries are found, with the step of each tensor."""

import numpy as np
import pytest
from mapped import leak_of, simulated

from gradleak.mapping.quantisation import find_quantisation, lattice_step


@pytest.fixture(scope="module")
def clients(digits):
    """Simulated clients by options, made once."""
    made = {}

    def make(**options):
        key = tuple(options.items())
        if key not in made:
            _, model, draws, _ = simulated(digits, range(1), **options)
            made[key] = model, [v.numpy() for v in model.trainable_variables], draws[0]
        return made[key]

    return make


def quantised(delta, bits):
    found = []
    for part in delta:
        step = np.ptp(part) / (2**bits - 1)
        found.append((part.min() + np.round((part - part.min()) / step) * step).astype(np.float32))
    return found


@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_quantised_entries_are_found_with_their_bits(clients, bits):
    _, before, draw = clients()
    found, steps = find_quantisation([part[None] for part in quantised(draw.delta, bits)], before)
    assert found.value == bits
    assert steps[0] == pytest.approx(np.ptp(draw.delta[0]) / (2**bits - 1), rel=0.01)


def test_signs_are_one_bit(clients):
    _, before, draw = clients()
    delta = [(np.sign(part) * np.abs(part).mean()).astype(np.float32)[None] for part in draw.delta]
    assert find_quantisation(delta, before)[0].value == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rate": 1e-5},  # the delta is hardly more than the last places of the weights
        {"optimizer": "adam", "learning_rate": 1e-2},
        {"optimizer": "adam", "learning_rate": 1e-4},
        {"scale": 1000.0},
    ],
    ids=str,
)
def test_rounded_weights_and_steps_of_one_size_are_no_quantisation(clients, options):
    _, before, draw = clients(**options)
    found, steps = find_quantisation([p[None] for p in draw.delta], before, options.get("scale", 1.0))
    assert found.value == 0
    assert not steps.any()


def test_no_lattice_without_values():
    assert lattice_step(np.zeros(300)) == 0
    assert lattice_step(np.random.default_rng(0).normal(size=300)) == 0


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_quantised_updates_refute_no_number_of_images(clients, settle, bits):
    model, _, draw = clients()
    report = settle(
        [leak_of(model, quantised(draw.delta, bits), draw.meta)], sign="after_minus_before"
    ).report
    assert report["quantisation"]["value"] == bits
    assert report["samples"]["contradicts"] == []
    assert report["samples"]["images_times_steps_at_least"] is None
    assert report["optimizer"]["value"] != "adam"


def test_levels_that_differ_by_the_rounding_of_float32_are_one():
    rng = np.random.default_rng(0)
    levels = 0.00127 * rng.integers(-4, 5, 3000)
    rounded = (levels * (1 + 1e-7 * rng.uniform(-1, 1, 3000))).astype(np.float32)
    assert len(np.unique(rounded)) > 20
    assert lattice_step(rounded) == pytest.approx(0.00127, rel=1e-3)


def test_weights_that_secure_aggregation_rounds_finely_prove_no_more_images(clients, settle):
    """The step is too fine to be found, and raises the rank to the number of pixels that are not always 0."""
    model, _, draw = clients(batch_size=2)
    rng, step = np.random.default_rng(0), 2.0**-23
    delta = []
    for part in draw.delta:
        moved = np.where(part == 0, 0, part + step * (rng.uniform(size=part.shape) - 0.5))
        delta.append(moved.astype(np.float32))
    report = settle([leak_of(model, delta, draw.meta)], sign="after_minus_before").report
    assert report["quantisation"]["value"] == 0
    assert report["samples"]["images_times_steps_at_least"] <= 2
