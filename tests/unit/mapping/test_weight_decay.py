"""Weight decay is found in a delta, and removed from it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import gradient, leak_of, small

from gradleak.images import to_float
from gradleak.mapping.head import Head
from gradleak.mapping.weight_decay import find_weight_decay, without_decay


def round_of(model, x, y, rate=0.05, decay=0.0, steps=1, optimizer=None):
    """A client's delta after − before with the penalty λ/2 ‖w‖² on all variables; weights are restored."""
    optimizer = optimizer or keras.optimizers.SGD(rate)
    before = [v.numpy() for v in model.trainable_variables]
    for _ in range(steps):
        found = [
            g + decay * v.numpy()
            for g, v in zip(gradient(model, x, y), model.trainable_variables, strict=True)
        ]
        optimizer.apply_gradients(zip(map(tf.constant, found), model.trainable_variables, strict=True))
    delta = [v.numpy() - w for v, w in zip(model.trainable_variables, before, strict=True)]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    return delta


@pytest.fixture(scope="module")
def net(digits):
    """A model, eight images of four classes, their labels, and the model's weights."""
    model = small(layers.Flatten(), layers.Dense(100, activation="relu"), layers.Dense(60, activation="relu"))
    kept = digits["private"].y < 4
    weights = [v.numpy() for v in model.trainable_variables]
    return model, to_float(digits["private"].x[kept][:8]), digits["private"].y[kept][:8], weights


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("decay", [1e-4, 5e-4, 0.01])
def test_the_decay_is_found_with_its_size_and_removed(net, decay, steps):
    model, x, y, before = net
    with_decay, plain = (round_of(model, x, y, decay=d, steps=steps) for d in (decay, 0.0))
    deltas = [part[None] for part in with_decay]
    found = find_weight_decay(deltas, before, Head(4, 5, "last"))
    assert found.finding.value == pytest.approx(1 - (1 - 0.05 * decay) ** steps, rel=0.03)
    assert found.direction == 1
    assert find_weight_decay([-part for part in deltas], before, Head(4, 5, "last")).direction == -1
    if steps == 1:  # later steps have other gradients
        for one, other in zip(without_decay(deltas, before, found), plain, strict=True):
            np.testing.assert_allclose(one[0], other, atol=2e-7)


def test_without_decay_nothing_is_found_or_changed(net):
    model, x, y, before = net
    for optimizer in (keras.optimizers.SGD(0.05, momentum=0.9), keras.optimizers.Adam(1e-3)):
        deltas = [part[None] for part in round_of(model, x, y, steps=3, optimizer=optimizer)]
        found = find_weight_decay(deltas, before, Head(4, 5, "last"))
        assert (found.finding.value, found.direction) == (0.0, 0)
        assert all(a is b for a, b in zip(without_decay(deltas, before, found), deltas, strict=True))


def test_the_decoupled_decay_of_adamw_is_found(net):
    model, x, y, before = net
    delta = round_of(model, x, y, steps=4, optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.01))
    found = find_weight_decay([part[None] for part in delta], before, Head(4, 5, "last"))
    assert found.finding.value == pytest.approx(4e-5, rel=0.05)


def test_a_penalty_on_one_layer_is_removed_from_that_layer(net):
    model, x, y, before = net
    delta = round_of(model, x, y)
    delta[0] = delta[0] - np.float32(0.05 * 0.01) * before[0]
    found = find_weight_decay([part[None] for part in delta], before, Head(4, 5, "last"))
    assert found.factors[0] == pytest.approx(-5e-4, rel=0.03)
    assert not found.factors[1:].any()


def test_weight_decay_refutes_no_number_of_images_and_shows_the_sign(net, settle):
    model, x, y, _ = net
    delta = round_of(model, x, y, decay=0.01)
    for factor, sign in ((1, "after_minus_before"), (-1, "before_minus_after")):
        leak = leak_of(model, [factor * part for part in delta], {"samples": 8, "local_steps": 1})
        report = settle([leak]).report
        assert report["samples"]["contradicts"] == []
        assert report["samples"]["images_times_steps_at_least"] <= 8
        assert report["weight_decay"]["value"] == pytest.approx(5e-4, rel=0.03)
        assert (report["sign"]["value"], report["optimizer"]["value"]) == (sign, "sgd")
