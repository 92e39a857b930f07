"""The user's own Keras models as the classifiers of simulated clients."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pytest

from gradleak.artifacts.receive import receive_model
from gradleak.errors import UserError
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.federated.own_model import own_model

dense = keras.layers.Dense


def net(shape=(64,), outputs=10, activation="softmax"):
    layers = [dense(12, "relu"), dense(outputs, activation)]
    flat = [] if len(shape) == 1 else [keras.layers.Flatten()]
    return keras.Sequential([keras.Input(shape), *flat, *layers])


def read(path, seed=0):
    """The model in a file, for the 8×8 digits."""
    with TemporaryDirectory() as folder:
        received = receive_model(Path(path), Path(folder))
    return own_model(ClientOptions(model=path, model_seed=seed), received, (8, 8, 1), 10)


def saved(model, path):
    path.write_text(model.to_json()) if path.suffix == ".json" else model.save(path)
    return str(path)


@pytest.mark.parametrize("shape", [(8, 8, 1), (64,), (8, 8)])
def test_a_model_from_json_starts_by_its_seed(tmp_path, shape):
    path = saved(net(shape), tmp_path / "net.json")
    first, again, other = (read(path, seed) for seed in (0, 0, 1))
    assert first.input_shape == (None, 8, 8, 1)
    for one, same, different in zip(first.get_weights(), again.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, same)
        assert one.ndim == 1 or not np.array_equal(one, different)


def test_a_keras_file_brings_its_weights_and_gives_logits(tmp_path, rng):
    model = net()
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    found = read(saved(model, tmp_path / "net.keras"))
    for one, other in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = rng.uniform(size=(3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(keras.ops.softmax(found(x)), model(x.reshape(3, 64)), rtol=1e-5, atol=1e-6)


def test_clients_train_it(tmp_path, digits):
    path = saved(net(), tmp_path / "net.json")
    options = ClientOptions(dataset="digits-8x8", model=path, batch_size=2)
    (tmp_path / "received").mkdir()
    received = receive_model(Path(path), tmp_path / "received")
    model = client.global_model(options, digits["pretraining"], received)
    (draw,) = client.simulate(options, model, digits["private"], [0])
    assert all(np.any(delta) for delta in draw.delta)
    leak = client.leak_of(model, draw)
    assert len(leak.before) == len(draw.delta) == 4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (net(outputs=5), "net.json: the model has 5 outputs, and the data set 10 classes"),
        (net(shape=(63,)), r"net.json: the model takes images? \(63,\)"),
        (
            net(outputs=1, activation="linear"),
            "net.json: the model has 1 output, which makes two classes, and the data set 10 classes",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(tmp_path, model, message):
    path = saved(model, tmp_path / "net.json")
    with pytest.raises(UserError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}', "net.json: is no Keras model"),
        ('{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}', "net.json: "),
        ("<html>", "net.json: this is a web page"),
        ("", "net.json: the file is empty"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, content, message):
    (tmp_path / "net.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read(str(tmp_path / "net.json"))


def test_preprocess_is_a_layer_of_the_model_and_its_weights_stay(digits):
    plain, scaled = (
        client.global_model(ClientOptions(dataset="digits-8x8", **more), digits["pretraining"])
        for more in ({"model": "resnet20_gn"}, {"model": "resnet20_gn", "preprocess": {"range": [-1, 1]}})
    )
    for one, other in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = digits["public"].x[:2].astype(np.float32) / 255
    np.testing.assert_allclose(scaled(x), plain(2 * x - 1), rtol=1e-4, atol=1e-5)
