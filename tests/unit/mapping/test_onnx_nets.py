"""Nets of ONNX files compute what PyTorch computes: outputs to 1e-5 and gradients to 1e-4, relative."""

import corpus
import numpy as np
import onnx_corpus
import onnx_nets
import pytest

from gradleak.artifacts import onnx_model, roles
from gradleak.artifacts.leak import Leak
from gradleak.mapping import layouts
from gradleak.mapping.alignment import _flattened, align
from gradleak.mapping.errors import MappingError


def leak_of(name):
    """The net with the weights of its state dict, sorted as .safetensors files are."""
    path = onnx_nets.FILES / f"{name}.onnx"
    model = onnx_model.read(path)
    weights = onnx_nets.weights_of(model.shapes)
    tensors = onnx_model.named(dict(sorted(weights.items())), model, path)
    return Leak(model.architecture.json, tensors, tensors, {}, {"variables": model.variables}), model


def built(leak):
    import keras

    return keras.models.model_from_json(leak.model_json)


def in_torch(array, variable, order, shape):
    """An array of a variable in PyTorch's layout and ``shape``: ``layouts.to_keras`` backwards."""
    numbers = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    places = layouts.to_keras(numbers, variable, "torch", order).astype(int).ravel()
    found = np.empty(places.size)
    found[places] = np.asarray(array, np.float64).ravel()
    return found.reshape(shape)


def computed(net, x, y, training):
    """(outputs, a gradient for each trainable variable)."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        out = net(x.transpose(0, 2, 3, 1), training=training)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, out))
    return out.numpy(), [g.numpy() for g in tape.gradient(loss, net.trainable_variables)]


@pytest.mark.parametrize("name", onnx_nets.SHAPES)
def test_outputs_and_gradients_are_those_of_pytorch(name):
    leak, model = leak_of(name)
    net = built(leak)
    align([leak], net)
    orders = _flattened(net, leak.model_json).orders
    keys = {variable: key for key, variable in model.variables.items()}
    with np.load(onnx_nets.FILES / f"{name}.npz") as file:
        reference = dict(file)
    found = {}
    for mode in onnx_nets.modes_of(name):
        out, gradients = computed(net, *onnx_nets.batch_of(name), mode == "train")
        torch = {}
        for variable, gradient in zip(net.trainable_variables, gradients, strict=True):
            key = keys[variable.path]
            torch[key] = in_torch(gradient, variable, orders.get(id(variable)), model.shapes[key])
        found |= onnx_nets.reference_of(mode, out, torch)
        np.testing.assert_allclose(
            out, reference[f"{mode}/outputs"], rtol=0, atol=1e-5 * np.abs(reference[f"{mode}/outputs"]).max()
        )
    assert found.keys() == reference.keys()
    errors = {
        key: onnx_nets.relative_error(found[key], reference[key])
        for key in found
        if not key.endswith("/outputs")
    }
    assert max(errors.values()) < 1e-4, max(errors, key=errors.get)


def test_the_tensors_of_a_state_dict_become_those_of_keras(tmp_path):
    """The leak of the corpus, as PyTorch would save it, and as Keras does."""
    for name, content in onnx_corpus.good().items():
        (tmp_path / name).write_bytes(content)
    leak = roles.inspect(sorted(tmp_path.iterdir()))
    found = align([leak], built(leak))
    for name, arrays in (("before.npz", found.before), ("delta.npz", [one[0] for one in found.deltas])):
        with np.load(corpus.io.BytesIO(corpus.good()[name])) as file:
            for key, array in zip(file.files, arrays, strict=True):
                np.testing.assert_array_equal(array, file[key])


def test_another_gradient_is_told_apart():
    """The measure of the test above sees an exchange of two rows, and a change of a thousandth."""
    with np.load(onnx_nets.FILES / "mlp.npz") as file:
        size = np.prod((12, 64))
        reference = dict(file)["eval/1.weight"]
    gradient = np.random.default_rng(0).normal(size=size)
    gradient *= reference[0] / np.linalg.norm(gradient)
    row = onnx_nets.reference_of("eval", np.zeros(1), {"1.weight": gradient})["eval/1.weight"]
    turned = onnx_nets.reference_of("eval", np.zeros(1), {"1.weight": gradient.reshape(12, 64).T})
    larger = onnx_nets.reference_of("eval", np.zeros(1), {"1.weight": gradient * 1.001})
    assert onnx_nets.relative_error(turned["eval/1.weight"], row) > 0.5
    assert 5e-4 < onnx_nets.relative_error(larger["eval/1.weight"], row) < 2e-3


def test_without_the_map_resnet18_cannot_be_placed():
    """Sorted keys and blocks of equal shapes: what the map of the ONNX file is for."""
    leak, _ = leak_of("resnet18")
    guessed = Leak(leak.model_json, dict(sorted(leak.before.items())), dict(sorted(leak.delta.items())), {})
    with pytest.raises(MappingError):
        align([guessed], built(guessed))


def test_rows_name_the_keys_of_the_state_dict():
    leak, _ = leak_of("mnist_example")
    found = align([leak], built(leak))
    assert found.layout == "torch"
    assert {row["variable"]: (row["key"], row["matched_by"]) for row in found.rows}["fc1/kernel"] == (
        "fc1.weight",
        "ONNX file, converted from PyTorch's layout",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc1.weight": "fc1/bias"}, "fc1.weight has shape"),
        ({"fc1.bias": "fc3/bias"}, "fc1.bias has no variable of its own"),
        ({"conv1.bias": "conv2/bias", "conv2.bias": "conv2/bias"}, "has shape|no variable of its own"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(change, message):
    leak, model = leak_of("mnist_example")
    wrong = Leak(leak.model_json, leak.before, leak.delta, {}, {"variables": model.variables | change})
    with pytest.raises(MappingError, match=message):
        align([wrong], built(wrong))


def test_a_tensor_that_is_missing_is_named():
    leak, model = leak_of("mnist_example")
    left = {key: array for key, array in leak.before.items() if key != "fc2.bias"}
    short = Leak(leak.model_json, left, left, {}, {"variables": model.variables})
    with pytest.raises(MappingError, match="no tensor is fc2/bias"):
        align([short], built(short))
