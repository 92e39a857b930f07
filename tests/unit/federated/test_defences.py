"""What a client does to its update before it shares it, and what the mapping makes of that."""

import numpy as np
import pytest
import tensorflow as tf

from gradleak.federated import client
from gradleak.federated.defences import defend
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping import suspicions
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.finding import Finding
from gradleak.mapping.settle import settle as settle_mapping

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 4}


@pytest.fixture
def delta(rng):
    return [rng.normal(size=(40, 30)).astype(np.float32), rng.normal(size=30).astype(np.float32)]


def norm(parts):
    return np.sqrt(sum(np.square(part, dtype=float).sum() for part in parts))


def test_without_a_defence_the_update_stays_as_it_is(delta, rng):
    for part, shared in zip(delta, defend(delta, rng), strict=True):
        np.testing.assert_array_equal(part, shared)


def test_a_longer_update_is_clipped_and_a_shorter_one_is_not(delta, rng):
    clipped = defend(delta, rng, clip_norm=0.5)
    assert norm(clipped) == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(clipped[0] / delta[0], 0.5 / norm(delta), rtol=1e-5)
    np.testing.assert_array_equal(defend(delta, rng, clip_norm=1e3)[0], delta[0])


def test_noise_comes_after_the_clipping(delta, rng):
    shared = defend(delta, rng, clip_norm=0.5, noise_std=0.1)
    added = shared[0] - delta[0] * (0.5 / norm(delta))
    assert shared[0].dtype == np.float32
    assert added.std() == pytest.approx(0.1, rel=0.1)
    assert norm(shared) > 1


def test_the_largest_entries_alone_are_shared(delta, rng):
    for part, shared in zip(delta, defend(delta, rng, top_k=0.1), strict=True):
        kept = shared != 0
        assert kept.sum() == round(0.1 * part.size)
        np.testing.assert_array_equal(shared[kept], part[kept])
        assert np.abs(part[kept]).min() > np.abs(part[~kept]).max()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_rounded_entries_are_those_of_the_format(delta, rng, precision):
    expected = tf.cast(tf.cast(delta[0], precision), tf.float32).numpy()
    np.testing.assert_array_equal(defend(delta, rng, precision=precision)[0], expected)


def settled(pools, **defence):
    options = ClientOptions(**BASE, pretrain_epochs=1, **defence)
    model = client.global_model(options, pools["pretraining"])
    (draw,) = client.simulate(options, model, pools["private"], [0])
    public = pools["public"]
    return settle_mapping(
        [client.leak_of(model, draw)], to_float(public.x), public.y, UserClaims(sign=options.sign)
    ), options


def test_the_mapping_tells_the_noise_of_every_gradient(digits):
    found, options = settled(digits, noise_std=1e-4)
    np.testing.assert_allclose(found.noise, 1e-4 / options.learning_rate, rtol=0.3)
    assert found.noise.shape == (len(found.gradients),)


@pytest.mark.parametrize("sign", ["after_minus_before", "before_minus_after"])
def test_noise_does_not_hide_the_sign(digits, sign):
    found, _ = settled(digits, noise_std=1e-4, sign=sign)
    assert found.report["sign"]["found"] == sign


def test_of_a_plain_update_it_tells_none(digits):
    found, _ = settled(digits)
    np.testing.assert_array_equal(found.noise, 0)


def test_of_a_rounded_update_it_tells_what_rounding_leaves(digits):
    plain, _ = settled(digits)
    found, _ = settled(digits, precision="bfloat16")
    for exact, rounded, noise in zip(plain.gradients, found.gradients, found.noise, strict=True):
        if exact.ndim > 2:
            assert (rounded - exact).std() == pytest.approx(noise, rel=0.3)


def test_dropped_entries_are_taken_as_evenly_spread_below_the_least_kept():
    delta = np.array([[[3.0, 0.0, 0.0, -0.6]]])
    none, full = Finding(0.0, 1.0, ""), Finding("float32", 1.0, "")
    dropped = suspicions.standard_deviations([delta], none, full, Finding(0.5, 1.0, ""), np.zeros(1))
    np.testing.assert_allclose(dropped, [np.sqrt(0.5 * 0.36 / 3)])
