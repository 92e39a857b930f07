"""ONNX files → layers, and tensors of the state dict → their variables."""

import json
import re
import struct
from pathlib import Path

import corpus
import numpy as np
import onnx_corpus
import onnx_nets
import onnx_writer as w
import pytest

from gradleak.artifacts import onnx_model, roles
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.sniff import sniff

IMAGE, OUTPUT = w.value("x", ["batch", 4, 6, 6]), w.value("y", ["batch", 3])
DENSE = w.node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], alpha=1.0, beta=1.0, transB=1)
PARAMETERS = {"fc.weight": (3, 144), "fc.bias": (3,)}


def scalar(name, number):
    return w.node("Constant", [], [name], value=w.tensor("", [], struct.pack("<f", number)))


def integers(name, *numbers):
    return w.node("Constant", [], [name], value=w.integers("", *numbers))


def channels(name, *numbers):
    content = w.tensor("", [len(numbers), 1, 1], struct.pack(f"<{len(numbers)}f", *numbers))
    return w.node("Constant", [], [name], value=content)


@pytest.fixture
def read(tmp_path):
    """Nodes from ``x`` (N, 4, 6, 6) to ``z``, in front of a dense layer of 3 classes → the model."""

    def made(*nodes, opset=17, flatten=True, **shapes):
        known = {key.replace("__", "."): shape for key, shape in shapes.items()}
        inputs = [IMAGE, *(w.value(key, shape) for key, shape in (PARAMETERS | known).items())]
        flat = [w.node("Flatten", ["z"], ["f"], axis=1)] if flatten else []
        path = tmp_path / "model.onnx"
        path.write_bytes(w.model(w.graph([*nodes, *flat, DENSE], inputs, [OUTPUT]), w.opset(opset)))
        return onnx_model.read(path)

    return made


def layers(model):
    """[(class, options beside name, trainable and dtype)] before the last dense layer."""
    found = json.loads(model.architecture.json)["config"]["layers"][1:]
    kept = [
        (
            one["class_name"],
            {k: v for k, v in one["config"].items() if k not in ("name", "trainable", "dtype")},
        )
        for one in found
    ]
    return [one for one in kept[:-1] if one[0] != "Flatten"]


X = ["x"]


def test_padding_is_a_layer_of_its_own(read):
    node = w.node("Conv", ["x", "c.weight"], ["z"], **onnx_corpus.CONV | {"pads": [1, 0, 2, 1]})
    found = read(node, c__weight=(4, 4, 3, 3), fc__weight=(3, 4 * 7 * 5))
    (pad, padding), (conv, options) = layers(found)
    assert (pad, padding["padding"]) == ("ZeroPadding2D", [[1, 2], [0, 1]])
    assert (conv, options["use_bias"], options["filters"]) == ("Conv2D", False, 4)
    assert "padding" not in options
    assert found.variables["c.weight"] == "c/kernel"


def test_depthwise_strides_are_equal(read):
    options = onnx_corpus.CONV | {"group": 4, "strides": [2, 1]}
    with pytest.raises(ArtifactError, match=r"depthwise convolution with the strides \[2, 1\]"):
        read(w.node("Conv", ["x", "c.weight"], ["z"], **options), c__weight=(4, 1, 3, 3))


GELU = [
    scalar("root", 2**0.5),
    w.node("Div", ["x", "root"], ["a"]),
    w.node("Erf", ["a"], ["b"]),
    scalar("one", 1),
    w.node("Add", ["b", "one"], ["c"]),
    scalar("half", 0.5),
]
GATE = w.node("Sigmoid", X, ["s"])
ACTIVATIONS = {
    "gelu": [*GELU, w.node("Mul", ["x", "c"], ["d"]), w.node("Mul", ["d", "half"], ["z"])],
    "gelu, halved first": [*GELU, w.node("Mul", ["x", "half"], ["d"]), w.node("Mul", ["d", "c"], ["z"])],
    "gelu in one": [w.node("Gelu", X, ["z"])],
    "silu": [GATE, w.node("Mul", ["x", "s"], ["z"])],
    "silu, turned": [GATE, w.node("Mul", ["s", "x"], ["z"])],
    "relu": [w.node("Relu", X, ["z"])],
    "softsign": [w.node("Softsign", X, ["z"])],
    "mish": [w.node("Mish", X, ["z"])],
    "sigmoid": [GATE, w.node("Identity", ["s"], ["z"])],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_one_and_of_several_nodes(read, name):
    assert layers(read(*ACTIVATIONS[name])) == [
        ("Activation", {"activation": name.partition(",")[0].split()[0]})
    ]


def test_a_gate_that_something_else_reads_too_is_a_layer(read):
    found = read(GATE, w.node("Mul", ["x", "s"], ["a"]), w.node("Add", ["a", "s"], ["z"]))
    assert [kind for kind, _ in layers(found)] == ["Activation", "Activation", "Add"]


def test_a_gate_of_another_tensor_is_a_product(read):
    found = read(GATE, w.node("Tanh", X, ["t"]), w.node("Mul", ["t", "s"], ["z"]))
    assert [kind for kind, _ in layers(found)] == ["Activation", "Activation", "Multiply"]


def test_numbers_are_one_rescaling(read):
    found = read(
        channels("mean", 1, 2, 3, 4),
        w.node("Sub", ["x", "mean"], ["a"]),
        scalar("deviation", 0.5),
        w.node("Div", ["a", "deviation"], ["z"]),
    )
    assert layers(found) == [("Rescaling", {"scale": 2.0, "offset": [-2.0, -4.0, -6.0, -8.0]})]


def test_numbers_minus_a_tensor_are_refused(read):
    with pytest.raises(ArtifactError, match=r"node 2 \(Sub\)"):
        read(scalar("one", 1), w.node("Sub", ["one", "x"], ["z"]))


def test_relu6(read):
    low, high = scalar("low", 0), scalar("high", 6)
    (found,) = layers(read(low, high, w.node("Clip", ["x", "low", "high"], ["z"])))
    assert found == ("ReLU", {"max_value": 6.0})


def test_group_norm_in_one_operator_is_of_opset_21(read):
    node = w.node("GroupNormalization", ["x", "n.weight", "n.bias"], ["z"], num_groups=2, epsilon=1e-5)
    found = read(node, opset=21, n__weight=(4,), n__bias=(4,))
    (kind, options), variables = layers(found)[0], found.variables
    assert (kind, options["groups"], options["epsilon"]) == ("GroupNormalization", 2, 1e-5)
    assert (variables["n.weight"], variables["n.bias"]) == ("n/gamma", "n/beta")
    with pytest.raises(ArtifactError, match="before opset 21"):
        read(node, opset=18, n__weight=(4,), n__bias=(4,))


def test_a_dense_layer_of_a_product_and_a_sum(read):
    found = read(
        w.node("Flatten", X, ["a"], axis=1),
        w.node("Transpose", ["d.weight"], ["t"], perm=[1, 0]),
        w.node("MatMul", ["a", "t"], ["b"]),
        w.node("Add", ["d.bias", "b"], ["z"]),
        d__weight=(5, 144),
        d__bias=(5,),
        fc__weight=(3, 5),
    )
    assert layers(found) == [("Dense", {"units": 5, "use_bias": True})]
    assert (found.variables["d.weight"], found.variables["d.bias"]) == ("d/kernel", "d/bias")
    flat = {v.name: v.flat for v in found.architecture.variables}
    assert flat["d/kernel"] == ((36, 4),)


SHAPES = {
    "by the number of examples": [
        w.node("Shape", X, ["s"]),
        integers("i", 0),
        w.node("Gather", ["s", "i"], ["n"]),
        integers("k", 144),
        w.node("Concat", ["n", "k"], ["to"], axis=0),
    ],
    "with the rest left open": [integers("to", 0, -1)],
    "with the examples left open": [integers("to", -1, 144)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_reshaping_to_a_vector(read, name):
    found = read(*SHAPES[name], w.node("Reshape", ["x", "to"], ["f"]), flatten=False)
    assert layers(found) == []
    assert {v.name: v.flat for v in found.architecture.variables}["fc/kernel"] == ((36, 4),)


def test_means_over_pixels(read):
    found = read(w.node("ReduceMean", X, ["z"], axes=[2, 3], keepdims=0), fc__weight=(3, 4))
    assert layers(found) == [("GlobalAveragePooling2D", {"keepdims": False})]
    squeezed = read(
        w.node("GlobalMaxPool", X, ["a"]),
        integers("axes", 2, 3),
        w.node("Squeeze", ["a", "axes"], ["f"]),
        flatten=False,
        fc__weight=(3, 4),
    )
    assert layers(squeezed) == [("GlobalMaxPooling2D", {"keepdims": True})]


def test_layers_that_do_not_reach_the_output_are_left_out(read):
    found = read(
        w.node("Relu", X, ["z"]),
        w.node("Conv", ["x", "aux.weight"], ["aux"], **onnx_corpus.CONV),
        aux__weight=(4, 4, 3, 3),
    )
    assert [kind for kind, _ in layers(found)] == ["Activation"]
    assert "aux.weight" not in found.shapes


def test_names_of_modules_become_names_that_tensorflow_takes(read):
    odd = ["_a", "ä.b", "c d", "image", "…"]
    nodes = [
        w.node("PRelu", [f"x{i}" if i else "x", f"{key}.weight"], [f"x{i + 1}"]) for i, key in enumerate(odd)
    ]
    found = read(*nodes, w.node("Relu", ["x5"], ["z"]), **{f"{key}__weight": (1,) for key in odd})
    assert list(found.variables.values())[:5] == [
        f"{name}/alpha" for name in ("a", "b", "c_d", "image_1", "pre_lu")
    ]


def test_modules_of_equal_names_are_numbered(read):
    """a.b and a_b are two modules in PyTorch, and would be one name in Keras."""
    modules = (("x", "a.b", "q"), ("q", "a_b", "z"))
    convs = [w.node("Conv", [x, f"{key}.weight"], [z], **onnx_corpus.CONV) for x, key, z in modules]
    found = read(*convs, a__b__weight=(4, 4, 3, 3), a_b__weight=(4, 4, 3, 3), fc__weight=(3, 16))
    assert {found.variables[key] for key in ("a.b.weight", "a_b.weight")} == {"a_b/kernel", "a_b_1/kernel"}


@pytest.mark.parametrize(
    ("op", "note"), [("Softmax", "nn.CrossEntropyLoss"), ("LogSoftmax", "LogSoftmax"), ("Sigmoid", "Sigmoid")]
)
def test_the_last_activation_is_noted(tmp_path, op, note):
    path = tmp_path / "model.onnx"
    nodes = [*onnx_corpus.nodes(), w.node(op, ["y"], ["p"])]
    path.write_bytes(onnx_corpus.onnx(nodes, outputs=[w.value("p", [2, 10])]))
    (found,) = onnx_model.read(path).architecture.notes
    assert note in found


def test_weights_in_the_file_are_not_used(tmp_path):
    """With export_params=True they are tensors of the file: their shapes count."""
    path = tmp_path / "model.onnx"
    initial = [
        w.tensor(key, shape, b"\x7f" * (4 * int(np.prod(shape)))) for key, shape in onnx_corpus.KEYS.items()
    ]
    path.write_bytes(onnx_corpus.onnx(inputs=[onnx_corpus.IMAGE], initial=initial))
    assert onnx_model.read(path).shapes == onnx_corpus.KEYS
    path.write_bytes(onnx_corpus.onnx())
    assert onnx_model.read(path).shapes == onnx_corpus.KEYS


def test_batch_norm_has_the_numbers_of_its_attributes():
    """PyTorch's momentum is the share of the batch, that of ONNX and Keras the rest."""
    model = onnx_model.read(onnx_nets.FILES / "depthwise.onnx")
    found = [options for kind, options in layers(model) if kind == "BatchNormalization"]
    assert [(one["epsilon"], one["momentum"]) for one in found] == [(1e-3, 0.99), (1e-5, 0.9)] * 3


def test_the_page_exports_as_the_errors_say():
    page = (Path(__file__).parents[3] / "docs/how-to/from-pytorch.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)[:1])
    arguments = re.findall(r"\w+=[\w.]+", onnx_model.RECIPE)
    assert len(arguments) == 4
    assert all(argument in code for argument in [*arguments, "copy.deepcopy(model)"])


# --- tensors ------------------------------------------------------------------------------------------------

BEFORE, _ = onnx_corpus.state_dicts()


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_corpus.onnx())
    return onnx_model.read(path)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_wrappers_are_left_out_and_the_order_is_that_of_the_file(good, tmp_path, prefix):
    given = {f"{prefix}{key}": BEFORE[key] for key in sorted(BEFORE)}
    found = onnx_model.named(given, good, tmp_path)
    assert list(found) == list(onnx_corpus.KEYS)
    assert all(found[key] is BEFORE[key] for key in found)


def test_tensors_without_names_are_in_the_order_of_the_state_dict(good, tmp_path):
    given = {f"arr_{number}": array for number, array in enumerate(BEFORE.values())}
    found = onnx_model.named(dict(sorted(given.items(), reverse=True)), good, tmp_path)
    assert all(found[key] is BEFORE[key] for key in BEFORE)


def test_moving_statistics_may_be_missing(tmp_path):
    model = onnx_model.read(onnx_nets.FILES / "resnet20_bn.onnx")
    weights = onnx_nets.weights_of(model.shapes)
    parameters = {key: array for key, array in weights.items() if "running" not in key}
    assert onnx_model.named(parameters, model, tmp_path).keys() == parameters.keys()
    by_number = {f"arr_{number}": array for number, array in enumerate(parameters.values())}
    assert onnx_model.named(by_number, model, tmp_path).keys() == parameters.keys()


def test_a_recorded_update_without_names_has_counters_among_its_tensors(tmp_path):
    """Of the older API of Flower, from its second round on: all in float64, in the state dict's order."""
    path = onnx_nets.FILES / "resnet20_bn.onnx"
    model = onnx_model.read(path)
    weights = onnx_nets.weights_of(model.shapes)
    rng = np.random.default_rng(0)
    delta = {key: rng.normal(0, 1e-3, array.shape) for key, array in weights.items()}
    delta["fc.weight"] -= delta["fc.weight"].mean(axis=0)
    for name, tensors in (("before", weights), ("delta", delta)):
        listed = []
        for key, array in tensors.items():
            listed += [array.astype(np.float64), *([np.float64(3)] if key.endswith("running_var") else [])]
        np.savez(tmp_path / f"{name}.npz", *listed)
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    found = roles.inspect(sorted(tmp_path.iterdir()))
    for tensors, expected in ((found.before, weights), (found.delta, delta)):
        assert list(tensors) == list(expected)
        assert all(np.array_equal(tensors[key], expected[key].astype(np.float32)) for key in expected)


def test_an_onnx_file_is_known_by_its_bytes(tmp_path):
    for path in sorted(onnx_nets.FILES.glob("*.onnx")):
        assert sniff(path) == "onnx"
    (tmp_path / "x.onnx").write_bytes(corpus.text(corpus.model()))
    assert sniff(tmp_path / "x.onnx") == "json"


def test_the_manifest_names_the_file_and_the_variables(tmp_path):
    for name, content in onnx_corpus.good().items():
        (tmp_path / name).write_bytes(content)
    found = roles.inspect(sorted(tmp_path.iterdir()))
    (entry,) = [one for one in found.manifest["files"] if one["role"] == "model"]
    assert (entry["name"], entry["kind"]) == ("model.onnx", "onnx")
    assert found.manifest["variables"]["hidden.weight"] == "hidden/kernel"
    assert (
        found.manifest["variables"].keys()
        == onnx_corpus.KEYS.keys()
        == found.before.keys()
        == found.delta.keys()
    )
