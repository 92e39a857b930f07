"""An ONNX file of an untrusted sender → a checked model, and the variable of each key of the state dict.

The structure comes from the file, the values from the state dict. Exporters fold weights of several layers
into one, so no weight of an ONNX file is used, and every tensor of the state dict has to be there by its
name. Use it in the confined child process alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.artifacts import (
    architecture,
    limits,
    onnx_elementwise,
    onnx_graph,
    onnx_layers,
    onnx_limits,
)
from gradleak.artifacts.architecture import Architecture
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.layer_options import Refused, short
from gradleak.artifacts.onnx_graph import Graph, Node
from gradleak.artifacts.onnx_values import SOURCE, Net, Parameter, Partial, Tensor, Value
from gradleak.artifacts.tensors import natural_order

RECIPE = (
    'torch.onnx.export(copy.deepcopy(model), (x,), "model.onnx", dynamo=False, export_params=False, '
    "training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False)"
)
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile

_Op = tuple[Callable[[Net, Node, dict[str, Any]], Value], dict[str, Any]]
_WINDOW = onnx_layers.WINDOW
_PLAIN: dict[str, _Op] = dict.fromkeys(onnx_elementwise.ACTIVATIONS, (onnx_elementwise.activation, {}))
_SUMS: dict[str, _Op] = dict.fromkeys(("Add", "Sub", "Mul", "Div"), (onnx_elementwise.binary, {}))
# operator → (its function, attribute → value if it is not given). An attribute has the type of this value.
OPS: dict[str, _Op] = {
    "Conv": (onnx_layers.conv, {**_WINDOW, "group": 1}),
    "MaxPool": (onnx_layers.pooling, {**_WINDOW, "ceil_mode": 0, "storage_order": 0}),
    "AveragePool": (onnx_layers.pooling, {**_WINDOW, "ceil_mode": 0, "count_include_pad": 0}),
    "GlobalAveragePool": (onnx_layers.global_pooling, {}),
    "GlobalMaxPool": (onnx_layers.global_pooling, {}),
    "ReduceMean": (onnx_layers.mean, {"axes": [], "keepdims": 1, "noop_with_empty_axes": 0}),
    "Pad": (onnx_layers.pad, {"mode": "constant"}),
    "Gemm": (onnx_layers.gemm, {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}),
    "MatMul": (onnx_layers.matmul, {}),
    "BatchNormalization": (
        onnx_layers.batch_normalization,
        {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0},
    ),
    "LayerNormalization": (onnx_layers.layer_normalization, {"axis": -1, "epsilon": 1e-5, "stash_type": 1}),
    "GroupNormalization": (
        onnx_layers.group_normalization,
        {"epsilon": 1e-5, "num_groups": 0, "stash_type": 1},
    ),
    "InstanceNormalization": (onnx_layers.instance_normalization, {"epsilon": 1e-5}),
    "Flatten": (onnx_layers.flatten, {"axis": 1}),
    "Reshape": (onnx_layers.reshape, {"allowzero": 0}),
    **_PLAIN,
    "Sigmoid": (onnx_elementwise.sigmoid, {}),
    "Softmax": (onnx_elementwise.softmax, {"axis": -1}),
    "LogSoftmax": (onnx_elementwise.softmax, {"axis": -1}),
    "Gelu": (onnx_elementwise.gelu, {"approximate": "none"}),
    "Selu": (onnx_elementwise.selu, {"alpha": 1.6732632, "gamma": 1.0507010}),
    "HardSigmoid": (onnx_elementwise.hard, {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": (onnx_elementwise.hard, {}),
    "LeakyRelu": (onnx_elementwise.leaky, {"alpha": 0.01}),
    "Elu": (onnx_elementwise.elu, {"alpha": 1.0}),
    "PRelu": (onnx_elementwise.prelu, {}),
    "Clip": (onnx_elementwise.clip, {}),
    "Erf": (onnx_elementwise.erf, {}),
    "Abs": (onnx_elementwise.absolute, {}),
    "Dropout": (onnx_elementwise.dropout, {"seed": 0}),
    "Concat": (onnx_elementwise.concat, {"axis": 0}),
    **_SUMS,
    "Constant": (
        onnx_elementwise.constant,
        dict.fromkeys(("value", "value_float", "value_floats", "value_int", "value_ints")),
    ),
    "Identity": (onnx_elementwise.identity, {}),
    "Shape": (onnx_elementwise.shape, {}),
    "Gather": (onnx_elementwise.gather, {"axis": 0}),
    "Unsqueeze": (onnx_elementwise.unsqueeze, {}),
    "Squeeze": (onnx_elementwise.squeeze, {}),
    "Transpose": (onnx_elementwise.transpose, {"perm": []}),
}
LAST = {
    "softmax": "Softmax: the client's loss is taken to be the cross-entropy of these probabilities; "
    "nn.CrossEntropyLoss of them is another one",
    "log_softmax": "LogSoftmax, which belongs to the cross-entropy",
    "sigmoid": "Sigmoid, which belongs to the binary cross-entropy",
}


@dataclass(frozen=True)
class Exported:
    """A model of an ONNX file. shapes: key of the state dict → shape, in PyTorch's layout and in the order of
    the file. variables: key → ``layer/kernel``.
    """

    architecture: Architecture
    shapes: dict[str, tuple[int, ...]]
    variables: dict[str, str]


def read(path: Path) -> Exported:
    """Check and translate an ONNX file. Raises ArtifactError with the file, the operator, and how to export
    it.
    """
    size = path.stat().st_size
    if size > onnx_limits.MAX_BYTES:
        raise ArtifactError(
            f"{path}: {size} bytes are more than the limit of {onnx_limits.MAX_BYTES} for a structure alone; "
            f"export it as {RECIPE}"
        )
    try:
        return _translated(onnx_graph.parse(path.read_bytes()), str(path))
    except Refused as error:
        raise ArtifactError(f"{path}: {error}. Export the structure as {RECIPE}") from None


def _translated(graph: Graph, what: str) -> Exported:
    net = Net(graph, {key: Parameter(key, shape) for key, shape in graph.parameters.items()})
    net.values |= {key: value for key, value in graph.constants.items() if key not in graph.parameters}
    net.values[graph.input] = Tensor(SOURCE, graph.image)
    for node in graph.nodes:
        made = _made(net, node)
        if len(node.outputs) < 1 or not node.outputs[0]:
            raise Refused(f"{node} has no output")
        net.values[node.outputs[0]] = made
        if len(net.layers) > limits.MAX_LAYERS:
            raise Refused(f"it has more layers than the limit of {limits.MAX_LAYERS}")
    end = net.values.get(graph.output)
    end = net.whole(end) if isinstance(end, Partial) else end
    if not isinstance(end, Tensor) or len(end.shape) != 1 or end.layer == SOURCE:
        raise Refused("its output is no vector of class scores (N, K)")
    used = _used(net, end.layer)
    found = architecture.read(_json(graph, used, end.layer), what)
    variables = {key: name for key, name in net.variables.items() if name.rpartition("/")[0] in used}
    if {variable.name for variable in found.variables} != set(variables.values()):
        raise Refused("some of its layers have no tensor in the state dict")
    last = used[end.layer]["config"].get("activation")
    notes = [*found.notes, *([f"the model ends in {LAST[last]}"] if last in LAST else [])]
    found = Architecture(found.json, found.variables, notes, found.groups, found.unordered)
    shapes = {key: shape for key, shape in graph.parameters.items() if key in variables}
    return Exported(found, shapes, variables)


def _made(net: Net, node: Node) -> Value:
    """The value of a node's first output."""
    if node.op not in OPS:
        raise Refused(
            f"{node}: this operator has no counterpart among the layers that are built (it is not among "
            f"{', '.join(OPS)})"
        )
    make, defaults = OPS[node.op]
    for name, value in node.attributes.items():
        if name not in defaults:
            raise Refused(f"{node}: the attribute {short(name)} is not known")
        if defaults[name] is not None and type(value) is not type(defaults[name]):
            raise Refused(
                f"{node}: the attribute {name} is {short(value)}, of another type than it should be"
            )
    return make(net, node, defaults | node.attributes)


def _used(net: Net, end: str) -> dict[str, dict[str, Any]]:
    """The layers that the output depends on, in the order of the file."""
    needed, left = {end}, [end]
    while left:
        for name, *_ in net.layers[left.pop()]["inbound_nodes"][0]:
            if name != SOURCE and name not in needed:
                needed.add(name)
                left.append(name)
    return {name: layer for name, layer in net.layers.items() if name in needed}


def _json(graph: Graph, layers: dict[str, dict[str, Any]], end: str) -> str:
    """Keras JSON, for ``architecture`` to check."""
    image = graph.image
    shape = [*image[1:], image[0]] if len(image) == 3 else list(image)
    source = {
        "class_name": "InputLayer",
        "config": {"name": SOURCE, "batch_shape": [None, *shape]},
        "name": SOURCE,
        "inbound_nodes": [],
    }
    config = {
        "name": "model",
        "layers": [source, *layers.values()],
        "input_layers": [SOURCE, 0, 0],
        "output_layers": [end, 0, 0],
    }
    return json.dumps({"module": "keras", "class_name": "Functional", "config": config})


# --- tensors of the state dict ------------------------------------------------------------------------------


def named(tensors: dict[str, np.ndarray], model: Exported, path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by the keys of the state dict, in the order of the ONNX file.

    Keys may begin as DataParallel and torch.compile write them. Keys that differ in numbers alone (arr_0,
    arr_1, …) are those of the state dict in its order. Raises ArtifactError for a tensor that the graph does
    not have, for one of another shape, and where one is missing that is no moving statistic.
    """
    plain = {_unwrapped(key): array for key, array in tensors.items()}
    if len(plain) < len(tensors):
        raise ArtifactError(f"{path}: two of its tensors have the same name in the state dict")
    if not plain.keys() & model.shapes.keys() and len({re.sub(r"\d+", "#", key) for key in plain}) == 1:
        plain = _numbered(plain, model)
    unknown = [key for key in plain if key not in model.shapes]
    if unknown:
        raise ArtifactError(
            f"{path}: the ONNX file has no layer with the tensors {_listed(unknown)}: they were merged into "
            f"others, or it is of another model. Export the structure as {RECIPE}"
        )
    for key, array in plain.items():
        if array.shape != model.shapes[key]:
            raise ArtifactError(
                f"{path}: {key} has the shape {list(array.shape)}, and in the ONNX file "
                f"{list(model.shapes[key])}; export and save the same model"
            )
    needed = {v.name for v in model.architecture.variables if not v.is_statistic}
    missing = [key for key, name in model.variables.items() if key not in plain and name in needed]
    if missing:
        raise ArtifactError(f"{path}: has no {_listed(missing)}; save all tensors of model.state_dict()")
    return {key: plain[key] for key in model.shapes if key in plain}


def _unwrapped(key: str) -> str:
    while key.startswith(WRAPPERS):
        key = key.partition(".")[2]
    return key


def _numbered(tensors: dict[str, np.ndarray], model: Exported) -> dict[str, np.ndarray]:
    """Tensors without names, by the order of the state dict, with the moving statistics or without them."""
    statistics = {v.name for v in model.architecture.variables if v.is_statistic}
    parameters = [key for key in model.shapes if model.variables[key] not in statistics]
    for keys in (list(model.shapes), parameters):
        if len(keys) == len(tensors):
            return dict(zip(keys, (tensors[key] for key in sorted(tensors, key=natural_order)), strict=True))
    return tensors


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
