"""PyTorch's exports, made anew: shipped files are what it writes, operators compute the same."""

import sys

import numpy as np
import pytest
from federations import ROOT, require, run

sys.path.insert(0, str(ROOT / "tests/unit"))

import onnx_nets

from gradleak.artifacts import onnx_model
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak
from gradleak.mapping.alignment import align

pytestmark = pytest.mark.frameworks
require("torch", "onnx")
OPERATORS = [
    "gelu_by_erf",
    "silu",
    "mish",
    "hardswish",
    "hardsigmoid",
    "selu",
    "softplus",
    "softsign",
    "batch_norm_without_scale",
    "elu",
    "prelu",
    "prelu_of_one",
    "group_norm",
    "group_norm_without_scale",
    "padded_pooling",
    "uneven_pooling",
    "padded_average",
    "dilated",
    "multiplied_depthwise",
    "mean",
    "global_max",
    "standardised",
    "softmax",
    "sigmoid",
    "batch_norm_of_vectors",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    run("torch_nets.py", folder, folder)
    return folder


@pytest.mark.parametrize("name", onnx_nets.SHAPES)
def test_the_shipped_files_are_what_pytorch_writes(written, name):
    now, shipped = (onnx_model.read(place / f"{name}.onnx") for place in (written, onnx_nets.FILES))
    assert now == shipped
    with np.load(written / f"{name}.npz") as file, np.load(onnx_nets.FILES / f"{name}.npz") as kept:
        assert file.files == kept.files
        for key in file.files:
            np.testing.assert_allclose(file[key], kept[key], rtol=0, atol=1e-4 * np.abs(kept[key]).max())


def test_every_operator_of_the_script_is_tested(written):
    files = {path.stem for path in (written / "operators").glob("*.onnx")}
    assert files == {*OPERATORS, "folded"}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_compute_the_same(written, name):
    import keras

    path = written / "operators" / f"{name}.onnx"
    model = onnx_model.read(path)
    weights = onnx_model.named(onnx_nets.weights_of(model.shapes), model, path)
    leak = Leak(model.architecture.json, weights, weights, {}, {"variables": model.variables})
    net = keras.models.model_from_json(leak.model_json)
    align([leak], net)
    out = net(onnx_nets.batch_of("branches")[0].transpose(0, 2, 3, 1)).numpy()
    with np.load(path.with_suffix(".npz")) as file:
        np.testing.assert_allclose(out, file["outputs"], rtol=0, atol=1e-5 * np.abs(file["outputs"]).max())


def test_merged_weights_are_refused_with_the_recipe(written):
    """The default export merges BatchNorm into the convolution before it."""
    model = onnx_model.read(written / "operators/folded.onnx")
    path = written / "operators/state.npz"
    with np.load(path) as file:
        tensors = {key: file[key] for key in file.files if file[key].ndim}
    with pytest.raises(ArtifactError, match=r"conv1.weight.*merged.*export_params=False"):
        onnx_model.named(tensors, model, path)
