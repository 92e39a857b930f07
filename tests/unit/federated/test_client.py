"""The simulated client: updates that are what the options say, on the 8×8 digits."""

import numpy as np
import pytest
import tensorflow as tf

from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 4}


@pytest.fixture(scope="module")
def model(digits):
    return client.global_model(ClientOptions(**BASE), digits["pretraining"])


@pytest.fixture
def simulate(model, digits):
    def run(draws=(0,), **changes):
        return client.simulate(ClientOptions(**BASE | changes), model, digits["private"], list(draws))

    return run


def plain_gradient(model, x, y):
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(to_float(x)))
        loss = tf.reduce_mean(losses)
    return [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]


def rounding(weights):
    """Two roundings of a float32 weight: the stored sum, and their difference."""
    return [2.0**-23 * np.abs(w).max() for w in weights]


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fedsgd_shares_minus_rate_times_gradient(model, simulate):
    (draw,) = simulate(learning_rate=0.1)
    expected = plain_gradient(model, draw.private.x, draw.private.y)
    for delta, gradient, noise in zip(draw.delta, expected, rounding(model.get_weights()), strict=True):
        assert delta.dtype == np.float32
        np.testing.assert_allclose(delta, -0.1 * gradient, atol=noise + 1e-7)
        assert np.abs(delta).max() > 100 * noise  # the comparison is not one of noise with noise


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"sign": "before_minus_after"}, -1),
        ({"scale": 0.25}, 0.25),
        ({"sign": "before_minus_after", "scale": 8.0}, -8),
    ],
)
def test_sign_and_scale_multiply_the_shared_delta(simulate, changes, factor):
    (plain,), (changed,) = simulate(), simulate(**changes)
    assert_same(changed.delta, [np.float32(factor) * d for d in plain.delta])


def test_epochs_are_steps_over_all_samples(simulate):
    (epochs,) = simulate(samples=10, local_epochs=2)  # batches of 4, 4 and 2, twice
    (steps,) = simulate(samples=10, local_steps=6)
    assert_same(epochs.delta, steps.delta)
    assert epochs.meta["local_steps"] == 6


def test_steps_override_epochs(simulate):
    (one,), (both,) = simulate(samples=8, local_steps=1), simulate(samples=8, local_steps=1, local_epochs=5)
    assert_same(one.delta, both.delta)


def test_two_steps_are_taken_one_after_the_other(model, simulate):
    (draw,) = simulate(local_steps=2, learning_rate=0.5)
    before = model.get_weights()
    for _ in range(2):
        gradient = plain_gradient(model, draw.private.x, draw.private.y)
        model.set_weights(
            [w - np.float32(0.5) * g for w, g in zip(model.get_weights(), gradient, strict=True)]
        )
    after = model.get_weights()
    model.set_weights(before)
    for delta, a, b in zip(draw.delta, after, before, strict=True):
        np.testing.assert_allclose(delta, a - b, atol=1e-6)


def test_momentum_carries_the_first_step_into_the_second(simulate):
    (plain,) = simulate(local_steps=2, learning_rate=1e-3)
    (heavy,) = simulate(local_steps=2, learning_rate=1e-3, optimizer="momentum", momentum=0.5)
    # The gradient hardly changes at this rate: 1 + 1 against 1 + 1.5.
    ratio = np.linalg.norm(heavy.delta[0]) / np.linalg.norm(plain.delta[0])
    assert ratio == pytest.approx(1.25, abs=0.01)


def test_momentum_at_the_first_step_is_sgd(simulate):
    (plain,), (heavy,) = simulate(), simulate(optimizer="momentum")
    assert_same(plain.delta, heavy.delta)


def test_adams_first_step_has_the_size_of_the_rate(simulate):
    (draw,) = simulate(optimizer="adam", learning_rate=0.01)
    assert np.abs(draw.delta[-1]).max() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_weights_are_restored_and_draws_are_independent(model, simulate, optimizer):
    before = model.get_weights()
    together = simulate(draws=(0, 1, 2), optimizer=optimizer, local_steps=2)
    assert_same(model.get_weights(), before)
    (alone,) = simulate(draws=(2,), optimizer=optimizer, local_steps=2)
    assert_same(alone.delta, together[2].delta)
    np.testing.assert_array_equal(alone.private.x, together[2].private.x)


def test_an_aggregate_is_the_mean_of_its_clients_and_holds_the_images_of_all(simulate):
    (both,) = simulate(draws=(1,), clients=2, local_steps=2)
    first, second = simulate(draws=(2, 3), local_steps=2)
    for mean, one, other in zip(both.delta, first.delta, second.delta, strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(both.private.x, np.concatenate([first.private.x, second.private.x]))
    np.testing.assert_array_equal(both.private.y, np.concatenate([first.private.y, second.private.y]))
    assert (both.meta["samples"], both.meta["batch_size"]) == (8, 8)


def test_every_client_defends_its_own_update_before_the_mean_is_taken(simulate):
    (both,) = simulate(clients=2, noise_std=0.1)
    first, second = simulate(draws=(0, 1), noise_std=0.1)
    np.testing.assert_allclose(both.delta[0], (first.delta[0] + second.delta[0]) / 2, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(first.delta[0], simulate()[0].delta[0])


def test_draws_differ(simulate):
    first, second = simulate(draws=(0, 1))
    assert first.private.x.tobytes() != second.private.x.tobytes()
    assert not np.array_equal(first.delta[0], second.delta[0])


def test_the_clients_data_do_not_depend_on_how_it_trains(simulate):
    (plain,), (other,) = simulate(), simulate(local_epochs=3, learning_rate=0.5, scale=2.0)
    np.testing.assert_array_equal(plain.private.x, other.private.x)


def test_metadata_tell_the_protocol_and_nothing_of_the_data(simulate):
    (draw,) = simulate(local_steps=3, optimizer="momentum", scale=0.5)
    assert draw.meta["local_steps"] == 3
    assert draw.meta["momentum"] == 0.9
    assert draw.meta["client_weight"] == 0.5
    assert set(draw.meta) == {
        "dataset",
        "alpha",
        "samples",
        "batch_size",
        "local_steps",
        "learning_rate",
        "optimizer",
        "momentum",
        "client_weight",
    }
    assert all(isinstance(v, str | int | float) for v in draw.meta.values())


def test_the_untrained_model_depends_on_its_seed_alone(digits, model):
    changed = BASE | {"batch_size": 32, "learning_rate": 1.0, "alpha": None}
    same = client.global_model(ClientOptions(**changed), digits["public"])
    other = client.global_model(ClientOptions(**BASE, model_seed=1), digits["pretraining"])
    assert_same(same.get_weights(), model.get_weights())
    assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])


def test_the_width_is_that_of_the_hidden_dense_layers(digits):
    wide = client.global_model(ClientOptions(**BASE, width=7), digits["pretraining"])
    assert [weights.shape for weights in wide.trainable_variables] == [
        (64, 7),
        (7,),
        (7, 7),
        (7,),
        (7, 10),
        (10,),
    ]


def test_pretraining_is_reproducible_and_teaches(digits, model):
    options = ClientOptions(**BASE, pretrain_epochs=2)
    trained, again = (client.global_model(options, digits["pretraining"]) for _ in range(2))
    assert_same(trained.get_weights(), again.get_weights())
    x, y = to_float(digits["public"].x), digits["public"].y
    accuracy = [(m.predict(x, verbose=0).argmax(1) == y).mean() for m in (model, trained)]
    assert accuracy[1] > max(0.6, accuracy[0] + 0.3)
