"""What the adversary simulates on public images, on the 8×8 digits."""

import keras
import numpy as np
import pytest

from gradleak.datasets.examples import Examples
from gradleak.federated import client, shadow_clients
from gradleak.federated.options import ClientOptions
from gradleak.labels import registry
from gradleak.labels.evidence import Client, Evidence
from gradleak.labels.packing import of_draws, pack, unpack
from gradleak.labels.registry import recover

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 6, "samples": 6, "learning_rate": 0.1}
META = {"learning_rate": 0.1, "local_steps": 3, "batch_size": 6, "optimizer": "sgd", "momentum": 0.0}


@pytest.fixture(scope="module")
def model(digits):
    return client.global_model(ClientOptions(**BASE), digits["pretraining"])


def test_settings_are_read_from_the_metadata():
    options = shadow_clients.published(META, 6)
    assert (options.steps, options.learning_rate, options.client_samples, options.optimizer) == (
        3,
        0.1,
        6,
        "sgd",
    )
    momentum = shadow_clients.published(META | {"optimizer": "momentum", "momentum": 0.5}, 6)
    assert (momentum.optimizer, momentum.momentum) == ("momentum", 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": None},
        {"learning_rate": "fast"},
        {"local_steps": -1},
        {"optimizer": "lion"},
        {"batch_size": 2.5},
        {"optimizer": "momentum", "momentum": 7},
    ],
)
def test_metadata_that_makes_no_sense_is_no_settings(wrong):
    assert shadow_clients.published(META | wrong, 6) is None


def test_one_step_needs_no_shadow_clients(model, digits):
    public = shadow_clients.simulate(
        model, digits["public"], shadow_clients.Rounds(ClientOptions(**BASE), 0.1), []
    )
    assert public.shadow_clients is None
    assert public.features.shape == (len(digits["public"].y), 300)
    assert public.dummy.shape == (shadow_clients.DUMMIES, 300)
    assert set(public.fold) == {0, 1}
    assert (
        shadow_clients.simulate(model, digits["public"], shadow_clients.Rounds(None, 0.1), []).shadow_clients
        is None
    )


@pytest.fixture(scope="module")
def simulated(model, digits):
    options = ClientOptions(**BASE, local_steps=3)
    finals = [[v.numpy() + 0.01 * k for v in model.trainable_variables] for k in range(2)]
    before = [v.numpy() for v in model.trainable_variables]
    public = shadow_clients.simulate(
        model, digits["public"], shadow_clients.Rounds(options, 0.3), finals, clients=5
    )
    for value, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)  # the model is as it was
    return public


def test_shadow_clients_have_the_published_number_of_images_and_steps(simulated):
    shadow = simulated.shadow_clients
    assert (shadow.counts.sum(axis=1) == 6).all()
    assert shadow.grad_weight.shape == (10, 300, 10)
    assert shadow.grad_bias.shape == (10, 10)
    np.testing.assert_allclose(shadow.grad_bias.sum(axis=1), 0, atol=1e-5)
    assert simulated.path.shape == (3, min(shadow_clients.PATH_IMAGES, len(simulated.labels)), 10)


def test_the_path_starts_at_the_server_s_model(simulated, model):
    kernel, bias = model.layers[-1].get_weights()
    start = simulated.features[: simulated.path.shape[1]] @ kernel + bias
    np.testing.assert_allclose(simulated.path[0], start, atol=1e-4)
    assert np.abs(simulated.path[2] - start).max() > 1e-3


def test_the_ends_are_each_draw_s_own(simulated):
    assert simulated.end_softmax.shape == (2, 10, 10)
    np.testing.assert_allclose(simulated.end_softmax.sum(axis=2), 1, rtol=1e-5)
    assert np.abs(simulated.end_softmax[0] - simulated.end_softmax[1]).max() > 1e-4


def test_files_give_back_what_was_packed(simulated):
    settings = Client(3, 0.1, "sgd")
    public, again = unpack({key: np.asarray(value) for key, value in pack(simulated, settings).items()})
    assert again == settings
    for name, value in vars(simulated.shadow_clients).items():
        np.testing.assert_array_equal(getattr(public.shadow_clients, name), value)
    np.testing.assert_array_equal(public.path, simulated.path)
    assert unpack(pack(simulated, None))[1] is None
    np.testing.assert_array_equal(of_draws(public, np.array([1])).end_softmax, simulated.end_softmax[1:])


def test_methods_read_an_update_of_several_steps(model, digits):
    options = ClientOptions(**BASE, local_steps=3, alpha=0.3)
    public = shadow_clients.simulate(
        model, digits["public"], shadow_clients.Rounds(options, 0.3), [], clients=100
    )
    made = client.simulate(options, model, digits["private"], [0, 1, 2, 3])
    kernel, bias = model.layers[-1].get_weights()
    gradients = (-np.stack([m.delta[i] for m in made]) / 0.3 for i in (-2, -1))
    evidence = Evidence(kernel, bias, *gradients, 6, public, Client(3, 0.1))
    truth = np.stack([np.bincount(m.private.y, minlength=10) for m in made])
    for method in ("posterior", "fixed_point", "linear", "auto"):
        found = recover(method, evidence)
        assert np.minimum(found.counts, truth).sum() / 24 > 0.7, method


def test_without_public_images_only_noise_goes_through_the_model(rng):
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Flatten(), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4, 6, 2)), *stack])
    nothing = Examples(np.zeros((0, 4, 6, 2), np.uint8), np.zeros(0, np.int64), 3)
    found = shadow_clients.simulate(model, nothing, shadow_clients.Rounds(None, 1.0), [])
    assert found.features.shape == (0, 5)
    assert found.dummy.shape[1] == 5
    kernel, bias = rng.normal(size=(1, 5, 3)), rng.normal(size=(1, 3))
    weight, offset = model.get_weights()[-2:]
    evidence = Evidence(weight, offset, kernel, bias, 4, found, Client())
    assert registry.refusal("zlg", evidence) == registry.refusal("llg_star", evidence) == ""
    assert "needs public data" in registry.refusal("llg_plus", evidence)
