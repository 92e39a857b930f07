"""Targets in factors: as good as plain ones."""

import numpy as np
import pytest
import tensorflow as tf
from engine_models import IMAGES, TRIALS, assert_close, built, engine, problem

from gradleak.gradients.matcher import build_matcher
from gradleak.gradients.objectives import LOSSES
from gradleak.gradients.targets import pack_targets, unpack_targets


@pytest.mark.parametrize("name", ["dense", "conv", "unknown layer"])
def test_one_target_for_all_trials_is_as_good_as_one_each(name):
    model = built(name)
    x, labels, targets, weights = problem(model)
    shared = [G[:1] for G in targets]
    repeated = [np.repeat(G, TRIALS, axis=0) for G in shared]
    one = engine(model, x, labels, shared, weights[:1])
    each = engine(model, x, labels, repeated, np.repeat(weights[:1], TRIALS, axis=0))
    for loss in LOSSES:
        for a, b in zip(one[loss], each[loss]):
            assert_close(a, b, 1e-6)


@pytest.mark.parametrize("images", [1, 40])
def test_packed_targets_are_as_good_as_plain_ones(images):
    """Leaks of two images: of rank 2 in the dense kernels, whose own gradient is in factors or multiplied
    out.
    """
    model = built("dense")
    leaks = build_matcher(model).gradients(*(tf.constant(part) for part in problem(model, seed=1)[:2]))
    targets = [leak.numpy() for leak in leaks]
    packed = pack_targets(targets)
    assert packed["target_0_left"].shape == (TRIALS, IMAGES, 200)
    x, labels, _, weights = problem(model, images=images)
    plain_ones = engine(model, x, labels, targets, weights)
    again = {name: tf.constant(array) for name, array in packed.items()}
    for loss, parts in engine(model, x, labels, unpack_targets(again, len(targets)), weights).items():
        for got, wanted in zip(parts, plain_ones[loss]):
            assert_close(got, wanted, 1e-5)


@pytest.mark.parametrize("name", ["grouped conv", "unknown layer"])
def test_packed_targets_serve_where_gradients_are_materialised(name):
    model = built(name)
    leaks = build_matcher(model).gradients(*(tf.constant(part) for part in problem(model, seed=1)[:2]))
    targets = [leak.numpy() for leak in leaks]
    packed = {key: tf.constant(array) for key, array in pack_targets(targets).items()}
    assert any(key.endswith("_left") for key in packed) == (name == "unknown layer")
    x, labels, _, weights = problem(model)
    plain_ones = engine(model, x, labels, targets, weights)
    for loss, parts in engine(model, x, labels, unpack_targets(packed, len(targets)), weights).items():
        for got, wanted in zip(parts, plain_ones[loss]):
            assert_close(got, wanted, 1e-5)


def test_a_target_that_is_not_finite_stays_whole():
    spoilt = np.ones((2, 40, 50), np.float32)
    spoilt[1] = np.nan
    assert list(pack_targets([spoilt])) == ["target_0"]


def test_packing_keeps_full_ranks_whole_and_shared_targets_once():
    rng = np.random.default_rng(3)
    full = rng.normal(size=(3, 40, 50)).astype(np.float32)
    low = (rng.normal(size=(3, 40, 2)) @ rng.normal(size=(3, 2, 50))).astype(np.float32)
    shared = np.repeat(low[:1], 3, axis=0)
    nothing = np.zeros((3, 40, 50), np.float32)
    packed = pack_targets([full, low, shared, nothing])
    shapes = {name: array.shape for name, array in packed.items()}
    assert shapes == {
        "target_0": (3, 40, 50),
        "target_1_left": (3, 2, 40),
        "target_1_right": (3, 2, 50),
        "target_2_left": (1, 2, 40),
        "target_2_right": (1, 2, 50),
        "target_3_left": (1, 1, 40),
        "target_3_right": (1, 1, 50),
    }
    assert {array.dtype for array in packed.values()} == {np.dtype(np.float32)}
    left, right = packed["target_1_left"], packed["target_1_right"]
    assert_close(np.einsum("tsi,tso->tio", left, right), low, 1e-6)
