"""Nodes of an ONNX graph that are layers: convolutions, dense layers, normalisations, pooling, reshaping.

Each function takes the net so far, a node and its attributes, and returns the value of the node's first
output. PyTorch's padding is written as ZeroPadding2D before a layer without padding, since "same" of Keras
pads otherwise at stride 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradleak.artifacts import limits
from gradleak.artifacts.layer_options import Refused
from gradleak.artifacts.onnx_graph import Node
from gradleak.artifacts.onnx_values import Net, Parameter, Partial, Shape, Tensor, Value

WINDOW = {
    "auto_pad": "NOTSET",
    "dilations": [1, 1],
    "kernel_shape": [],
    "pads": [0, 0, 0, 0],
    "strides": [1, 1],
}


def conv(net: Net, node: Node, options: dict[str, Any]) -> Value:
    image = net.image(node)
    weight = net.value(node, 1)
    if not isinstance(weight, Parameter) or len(weight.shape) != 4:
        raise Refused(f"{node}: its kernel is no tensor (outputs, inputs, height, width) of the state dict")
    filters, inputs, *window = weight.shape
    groups, channels = options["group"], image.shape[0]
    if options["kernel_shape"] not in ([], window):
        raise Refused(f"{node}: kernel_shape is {options['kernel_shape']}, and {weight.key} is {window}")
    if groups < 1 or channels != inputs * groups or filters % groups:
        raise Refused(
            f"{node}: {weight.key} {list(weight.shape)} with {groups} groups does not fit {channels} channels"
        )
    is_depthwise = groups == channels > 1
    _require_steps(node, options, is_depthwise)
    padded = _padded(net, node, image, options)
    config = {"kernel_size": window, "strides": options["strides"], "dilation_rate": options["dilations"]}
    keys = {"kernel": weight.key}
    has_bias = _is_given(node, 2)
    if has_bias:
        keys["bias"] = net.parameter(node, 2, (filters,))
    shape = (filters, *_slid(node, padded.shape[1:], window, options))
    config["use_bias"] = has_bias
    if is_depthwise:
        return net.add(
            "DepthwiseConv2D", [padded], shape, config | {"depth_multiplier": filters // groups}, keys
        )
    return net.add("Conv2D", [padded], shape, config | {"filters": filters, "groups": groups}, keys)


def _is_given(node: Node, index: int) -> bool:
    return len(node.inputs) > index and node.inputs[index] != ""


def _require_steps(node: Node, options: dict[str, Any], is_depthwise: bool) -> None:
    """Raises Refused for the strides and dilations that TensorFlow does not have."""
    strides, dilations = options["strides"], options["dilations"]
    if is_depthwise and len(set(strides)) > 1:
        raise Refused(f"{node}: a depthwise convolution with the strides {strides} cannot be built")
    if max(strides, default=1) > 1 and max(dilations, default=1) > 1:
        raise Refused(f"{node}: with strides {strides} and dilations {dilations} at once it cannot be built")


def _padded(net: Net, node: Node, image: Tensor, options: dict[str, Any]) -> Tensor:
    """The image with the zeros around it that a window reads."""
    for name, size in (("pads", 4), ("strides", 2), ("dilations", 2)):
        values = options[name]
        if len(values) != size or min(values) < (name != "pads") or max(values) > limits.MAX_SIZE:
            raise Refused(f"{node}: {name} are {options[name]}")
    if options["auto_pad"] != "NOTSET":
        raise Refused(f"{node}: auto_pad {options['auto_pad']} is not taken; PyTorch writes pads")
    top, left, bottom, right = options["pads"]
    if not any(options["pads"]):
        return image
    channels, height, width = image.shape
    shape = (channels, height + top + bottom, width + left + right)
    return net.add("ZeroPadding2D", [image], shape, {"padding": [[top, bottom], [left, right]]})


def _slid(node: Node, area: Shape, window: list[int], options: dict[str, Any]) -> Shape:
    reach = [(size - 1) * step + 1 for size, step in zip(window, options["dilations"], strict=True)]
    found = tuple((n - r) // s + 1 for n, r, s in zip(area, reach, options["strides"], strict=True))
    if min(found) < 1:
        raise Refused(f"{node}: a window of {reach} does not fit images of {list(area)}")
    return found


def pooling(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """MaxPool and AveragePool."""
    image, window = net.image(node), options["kernel_shape"]
    if len(window) != 2 or min(window) < 1:
        raise Refused(f"{node}: kernel_shape is {window}")
    if options["ceil_mode"] or options.get("storage_order"):
        raise Refused(f"{node}: ceil_mode and storage_order are not taken; use ceil_mode=False")
    if options["dilations"] != [1, 1]:
        raise Refused(f"{node}: dilated pooling is not taken")
    if any(options["pads"]) and node.op == "AveragePool" and not options["count_include_pad"]:
        raise Refused(f"{node}: average pooling with padding that does not count is not taken")
    if any(options["pads"]) and node.op == "MaxPool" and not image.is_positive:
        raise Refused(
            f"{node}: max pooling with padding pads with −∞ and Keras with 0, which is the same only behind "
            "ReLU; put the pooling behind the ReLU, where it gives the same"
        )
    padded = _padded(net, node, image, options)
    shape = (image.shape[0], *_slid(node, padded.shape[1:], window, options))
    kind = "MaxPooling2D" if node.op == "MaxPool" else "AveragePooling2D"
    made = net.add(kind, [padded], shape, {"pool_size": window, "strides": options["strides"]})
    return Tensor(made.layer, shape, image.is_positive)


def global_pooling(net: Net, node: Node, _: dict[str, Any]) -> Value:
    image = net.image(node)
    kind = "GlobalAveragePooling2D" if node.op == "GlobalAveragePool" else "GlobalMaxPooling2D"
    return net.add(kind, [image], (image.shape[0], 1, 1), {"keepdims": True})


def mean(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """ReduceMean over height and width, the other way to write global average pooling."""
    image = net.image(node)
    axes = net.integers(node, 1) or options["axes"]
    if sorted(axis % 4 if -4 <= axis < 4 else axis for axis in axes) != [2, 3]:
        raise Refused(f"{node}: the mean over the axes {axes} is not taken; over [2, 3] it is")
    keep = bool(options["keepdims"])
    shape = (image.shape[0], 1, 1) if keep else image.shape[:1]
    return net.add("GlobalAveragePooling2D", [image], shape, {"keepdims": keep})


def pad(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """Pad with zeros around an image."""
    image, pads, value = net.image(node), net.integers(node, 1) or [], net.constant(node, 2)
    if options["mode"] != "constant" or (value is not None and np.any(value)) or len(node.inputs) > 3:
        raise Refused(f"{node}: only padding with zeros is taken")
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        raise Refused(f"{node}: the padding {pads} is not one of height and width")
    return _padded(net, node, image, WINDOW | {"pads": [pads[2], pads[3], pads[6], pads[7]]})


def gemm(net: Net, node: Node, options: dict[str, Any]) -> Value:
    vector, weight = net.tensor(node), net.value(node, 1)
    plain = options["alpha"] == options["beta"] == 1 and not options["transA"]
    turned = isinstance(weight, Parameter) and weight.is_transposed != bool(options["transB"])
    if not plain or not turned:
        raise Refused(
            f"{node}: only x Wᵀ + b with W (outputs, inputs) of the state dict is taken; use nn.Linear"
        )
    units = _units(node, vector, weight, is_turned=not options["transB"])
    has_bias = _is_given(node, 2)
    return _dense(net, vector, weight.key, units, net.parameter(node, 2, (units,)) if has_bias else "")


def matmul(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """The dense layer without bias that nn.Linear(bias=False) becomes; a bias may be added to it."""
    vector, weight = net.tensor(node), net.value(node, 1)
    if not isinstance(weight, Parameter) or not weight.is_transposed:
        raise Refused(f"{node}: only x Wᵀ with W (outputs, inputs) of the state dict is taken; use nn.Linear")
    units = _units(node, vector, weight, is_turned=True)
    key = weight.key
    return Partial("dense", vector, (key, units), lambda: _dense(net, vector, key, units, ""))


def _units(node: Node, vector: Tensor, weight: Parameter, is_turned: bool) -> int:
    """Outputs of a dense layer."""
    shape = weight.shape[::-1] if is_turned else weight.shape
    if len(shape) != 2 or vector.shape != shape[1:]:
        raise Refused(f"{node}: {weight.key} {list(shape)} does not fit an input of {list(vector.shape)}")
    return shape[0]


def _dense(net: Net, vector: Tensor, key: str, units: int, bias: str) -> Tensor:
    keys = {"kernel": key} | ({"bias": bias} if bias else {})
    return net.add("Dense", [vector], (units,), {"units": units, "use_bias": bool(bias)}, keys)


def with_bias(net: Net, node: Node, partial: Partial, bias: Parameter) -> Value:
    """A dense layer of ``matmul`` and its bias."""
    key, units = partial.options
    if bias.shape != (units,):
        raise Refused(f"{node}: {bias.key} has the shape {list(bias.shape)}, and {[units]} is needed")
    return _dense(net, partial.base, key, units, bias.key)


def batch_normalization(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """With scale and shift, or with the constants 1 and 0 in their place (affine=False)."""
    before = net.tensor(node)
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    values = [net.value(node, index) for index in (1, 2)]
    plain = [isinstance(value, np.ndarray) and bool(np.all(value == 1 - i)) for i, value in enumerate(values)]
    keys = {
        name: net.parameter(node, index, before.shape[:1])
        for index, name in enumerate(names, 1)
        if index > 2 or not plain[index - 1]
    }
    config = {"axis": -1, "epsilon": options["epsilon"], "momentum": options["momentum"]}
    config |= {"scale": not plain[0], "center": not plain[1]}
    return net.add("BatchNormalization", [before], before.shape, config, keys)


def layer_normalization(net: Net, node: Node, options: dict[str, Any]) -> Value:
    before = net.tensor(node)
    if options["axis"] not in (-1, 1) or len(before.shape) != 1 or len(node.outputs) > 1:
        raise Refused(f"{node}: only the normalisation of a vector is taken")
    keys = {"gamma": net.parameter(node, 1, before.shape)}
    has_bias = _is_given(node, 2)
    if has_bias:
        keys["beta"] = net.parameter(node, 2, before.shape)
    config = {"axis": -1, "epsilon": options["epsilon"], "center": has_bias}
    return net.add("LayerNormalization", [before], before.shape, config, keys)


def group_normalization(net: Net, node: Node, options: dict[str, Any]) -> Value:
    image = net.image(node)
    if net.graph.opset < 21:
        raise Refused(f"{node}: before opset 21 it has another meaning; export with opset_version=17")
    size = image.shape[:1]
    keys = {"gamma": net.parameter(node, 1, size), "beta": net.parameter(node, 2, size)}
    return _group_norm(net, node, image, (options["num_groups"], options["epsilon"]), keys)


def _group_norm(
    net: Net, node: Node, image: Tensor, options: tuple[int, float], keys: dict[str, str]
) -> Tensor:
    groups, epsilon = options
    if groups < 1 or image.shape[0] % groups:
        raise Refused(f"{node}: {image.shape[0]} channels are no {groups} groups")
    config = {"groups": groups, "axis": -1, "epsilon": epsilon}
    config |= {"scale": "gamma" in keys, "center": "beta" in keys}
    return net.add("GroupNormalization", [image], image.shape, config, keys)


def instance_normalization(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """The second step of GroupNorm before opset 21, on an image of groups (see ``reshape``)."""
    grouped = net.value(node, 0)
    if not isinstance(grouped, Partial) or grouped.kind != "grouped":
        raise Refused(f"{node}: only nn.GroupNorm is taken, not nn.InstanceNorm2d")
    groups = grouped.options[0]
    scale, offset = net.constant(node, 1), net.constant(node, 2)
    if scale is None or offset is None or scale.shape != (groups,) or np.any(scale != 1) or np.any(offset):
        raise Refused(f"{node}: the scale of groups is not 1, or their offset not 0")
    return Partial("normalised", grouped.base, (groups, options["epsilon"]), _never(node))


def scaled_groups(net: Net, node: Node, partial: Partial, scale: Parameter) -> Value:
    """GroupNorm with its scale, (C, 1, 1); the offset may follow."""
    options, image = partial.options, partial.base
    _require_channels(node, image, scale)
    keys = {"gamma": scale.key}
    return Partial(
        "scaled groups", image, (*options, scale.key), lambda: _group_norm(net, node, image, options, keys)
    )


def moved_groups(net: Net, node: Node, partial: Partial, offset: Parameter) -> Value:
    groups, epsilon, scale = partial.options
    _require_channels(node, partial.base, offset)
    return _group_norm(net, node, partial.base, (groups, epsilon), {"gamma": scale, "beta": offset.key})


def _require_channels(node: Node, image: Tensor, parameter: Parameter) -> None:
    if parameter.shape != (image.shape[0], 1, 1):
        raise Refused(
            f"{node}: {parameter.key} has the shape {list(parameter.shape)}, not one number a channel"
        )


def _never(node: Node) -> Any:
    """For a step that is no layer by itself."""

    def make() -> Tensor:
        raise Refused(f"{node}: only nn.GroupNorm reshapes and normalises images like this")

    return make


def flatten(net: Net, node: Node, options: dict[str, Any]) -> Value:
    if options["axis"] != 1:
        raise Refused(f"{node}: axis is {options['axis']}; only from axis 1 on it keeps the examples apart")
    return _flat(net, net.tensor(node))


def _flat(net: Net, before: Tensor) -> Tensor:
    if len(before.shape) == 1:
        return before
    size = math.prod(before.shape)
    return Tensor(net.add("Flatten", [before], (size,)).layer, (size,), before.is_positive)


def reshape(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """To (N, C·H·W), to the same shape, or one of the two of GroupNorm."""
    target, before = net.integers(node, 1), net.value(node, 0)
    if not target or options["allowzero"] or target[0] not in (0, -1, net.graph.batch):
        raise Refused(f"{node}: the shape {target} does not keep the examples apart")
    if isinstance(before, Partial) and before.kind == "normalised":
        image = before.base
        if tuple(target[1:]) != image.shape:
            raise Refused(f"{node}: only nn.GroupNorm normalises images like this")
        groups = before.options
        return Partial("groups", image, groups, lambda: _group_norm(net, node, image, groups, {}))
    tensor = net.tensor(node)
    sizes = tensor.shape
    rest = [sizes[i] if one == 0 and i < len(sizes) else one for i, one in enumerate(target[1:])]
    if len(rest) == 1 and rest[0] in (-1, math.prod(sizes)):
        return _flat(net, tensor)
    if tuple(rest) == sizes:
        return tensor
    if len(sizes) == 3 and len(rest) == 2 and rest[1] in (-1, math.prod(sizes) // max(rest[0], 1)):
        return Partial("grouped", tensor, (rest[0],), _never(node))
    raise Refused(f"{node}: from {list(sizes)} to {rest} is not taken; only to one axis, C·H·W")
