"""Shapes of variables and outputs of each layer, and its work, before anything is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gradleak.artifacts import limits
from gradleak.artifacts.flattening import Order, is_plain, order_after, plain
from gradleak.artifacts.layer_options import Refused

MERGING = ("Add", "Average", "Concatenate", "Maximum", "Multiply", "Subtract")  # layers of several inputs


@dataclass(frozen=True)
class Variable:
    """A weight of the model. name: ``layer/kernel``. flat: order of the flattened image that it reads."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    flat: Order | None = None

    @property
    def layer(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def is_statistic(self) -> bool:
        """Whether it is a moving statistic of BatchNormalization, which no gradient changes."""
        return self.name.endswith(("/moving_mean", "/moving_variance"))

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layer:
    """A layer of the allow-list with checked options. inputs: names of the layers that it reads."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: list[str]
    trainable: bool


@dataclass(frozen=True)
class Measured:
    """variables: in layer order. unordered: layers behind which PyTorch's order of elements is not known."""

    variables: list[Variable]
    unordered: tuple[str, ...]


def measure(layers: list[Layer], source: str, shape: tuple[int, ...]) -> Measured:
    """The model's variables; refuses what would be too large to run."""
    shapes: dict[str, tuple[int, ...]] = {source: shape}
    orders: dict[str, Order] = {source: plain(shape)}
    found: dict[str, list[Variable]] = {}
    unordered: list[str] = []
    left, work = list(layers), 0
    while left:
        ready = [layer for layer in left if layer.inputs and all(name in shapes for name in layer.inputs)]
        if not ready:
            raise Refused(f"layer {left[0].name} is not connected to the input")
        for layer in ready:
            came = [shapes[name] for name in layer.inputs]
            try:
                out, weights, layer_work = _outcome(layer, came)
            except (IndexError, ValueError, ZeroDivisionError, KeyError):
                raise Refused(
                    f"layer {layer.name} ({layer.kind}) does not fit its input {list(came[0])}"
                ) from None
            _check_output(layer, out)
            work += layer_work
            if work > limits.MAX_WORK:
                raise Refused(
                    f"layer {layer.name}: one image costs more than {limits.MAX_WORK} multiplications"
                )
            read = [orders[name] for name in layer.inputs]
            order = order_after(layer.kind, layer.config, came, read, out)
            if order is None:
                unordered.append(layer.name)
            shapes[layer.name], orders[layer.name] = out, plain(out) if order is None else order
            found[layer.name] = _variables(layer, weights, came[0], read[0])
            left.remove(layer)
    return Measured([variable for layer in layers for variable in found[layer.name]], tuple(unordered))


def _check_output(layer: Layer, out: tuple[int, ...]) -> None:
    if math.prod(out) > limits.MAX_ACTIVATIONS or any(one < 1 for one in out):
        limit = "nothing" if min(out) < 1 else f"more than the limit of {limits.MAX_ACTIVATIONS}"
        raise Refused(
            f"layer {layer.name} gives an output of shape {list(out)} for one image, which is {limit}"
        )


def _variables(layer: Layer, weights: list, shape: tuple[int, ...], order: Order) -> list[Variable]:
    """weights: (name, shape, trained) each. shape, order: of the layer's input."""
    return [
        Variable(
            f"{layer.name}/{name}",
            size,
            layer.trainable and trained,
            order if name != "bias" and size[:1] == shape and not is_plain(order) else None,
        )
        for name, size, trained in weights
    ]


def _outcome(layer: Layer, came: list[tuple[int, ...]]) -> tuple[tuple[int, ...], list, int]:
    """(output shape of one image, [(name, shape, trainable)], multiply-adds)."""
    kind, c, x = layer.kind, layer.config, came[0]
    if kind in MERGING:
        return _merged(kind, c, came), [], 0
    if len(came) != 1:
        raise Refused(f"layer {layer.name} ({kind}) has {len(came)} inputs")
    bias = c.get("use_bias", True)
    if kind == "Dense":
        units = c["units"]
        return (
            (*x[:-1], units),
            [("kernel", (x[-1], units), True), *_biases(bias, units)],
            math.prod(x) * units,
        )
    if kind in ("Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
        return _convolved(kind, c, x, bias)
    out = _moved(kind, c, x)
    return (out, [], 0) if out else (x, _of_each(kind, c, x), math.prod(x))


def _moved(kind: str, c: dict, x: tuple[int, ...]) -> tuple[int, ...]:
    """The output shape of a layer that pools, pads or reorders; () of any other layer."""
    axes = 1 if kind.endswith("1D") else 2
    if "Pooling" in kind or kind == "ZeroPadding1D":
        _require_rank(x, axes + 1)
    if kind.startswith("Global"):
        return (*(1,) * axes, x[-1]) if c.get("keepdims") else x[-1:]
    if kind.startswith(("MaxPooling", "AveragePooling")):
        pool = c.get("pool_size", [2] * axes)
        return (*_slid(x, pool, c.get("strides", pool), [1] * axes, c.get("padding", "valid")), x[-1])
    if kind == "Flatten":
        return (math.prod(x),)
    if kind == "Reshape":
        return _reshaped(x, c["target_shape"])
    if kind == "Permute":
        _require_rank(x, len(c["dims"]))
        return tuple(x[axis - 1] for axis in c["dims"])
    if kind == "ZeroPadding1D":
        return (x[0] + sum(c.get("padding", [1, 1])), x[1])
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = c.get("padding", [[1, 1], [1, 1]])
        return (x[0] + top + bottom, x[1] + left + right, x[2])
    if kind == "Cropping2D":
        (top, bottom), (left, right) = c.get("cropping", [[0, 0], [0, 0]])
        return (x[0] - top - bottom, x[1] - left - right, x[2])
    if kind == "UpSampling2D":
        height, width = c.get("size", [2, 2])
        return (x[0] * height, x[1] * width, x[2])
    return ()


def _require_rank(x: tuple[int, ...], rank: int) -> None:
    if len(x) != rank:
        raise ValueError


def _biases(there: bool, size: int) -> list:
    return [("bias", (size,), True)] if there else []


def _convolved(kind: str, c: dict, x: tuple, bias: bool) -> tuple:
    kernel, channels = c["kernel_size"], x[-1]
    once = [1] * len(kernel)
    area = _slid(x, kernel, c.get("strides", once), c.get("dilation_rate", once), c.get("padding", "valid"))
    if kind in ("Conv1D", "Conv2D"):
        filters, groups = c["filters"], c.get("groups", 1)
        if channels % groups or filters % groups:
            raise ValueError
        weights = [("kernel", (*kernel, channels // groups, filters), True)]
    elif kind == "DepthwiseConv2D":
        filters = channels * c.get("depth_multiplier", 1)
        weights = [("kernel", (*kernel, channels, c.get("depth_multiplier", 1)), True)]
    else:
        filters, middle = c["filters"], channels * c.get("depth_multiplier", 1)
        weights = [
            ("depthwise_kernel", (*kernel, channels, c.get("depth_multiplier", 1)), True),
            ("pointwise_kernel", (1, 1, middle, filters), True),
        ]
    work = math.prod(area) * sum(math.prod(shape) for _, shape, _ in weights)
    return (*area, filters), [*weights, *_biases(bias, filters)], work


def _slid(x: tuple, window: list, strides: list, dilation: list, padding: str) -> tuple[int, ...]:
    """Height and width after a window slid over (H, W, C), or the length of (L, C)."""
    _require_rank(x, len(window) + 1)
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    if padding in ("same", "causal"):
        return tuple(-(-size // s) for size, s in zip(x, strides))
    return tuple((size - r) // s + 1 for size, r, s in zip(x, reach, strides))


def _merged(kind: str, c: dict, came: list[tuple]) -> tuple[int, ...]:
    if kind != "Concatenate":
        if len(set(came)) != 1 or (kind == "Subtract" and len(came) != 2):
            raise ValueError
        return came[0]
    rank, axis = len(came[0]), c.get("axis", -1)
    axis = axis - 1 if axis > 0 else axis + rank
    if not 0 <= axis < rank or len({(*one[:axis], *one[axis + 1 :]) for one in came}) != 1:
        raise ValueError
    return (*came[0][:axis], sum(one[axis] for one in came), *came[0][axis + 1 :])


def _reshaped(x: tuple, target: list[int]) -> tuple[int, ...]:
    known = math.prod(one for one in target if one != -1)
    if target.count(-1) > 1 or math.prod(x) % known or (-1 not in target and known != math.prod(x)):
        raise ValueError
    return tuple(math.prod(x) // known if one == -1 else one for one in target)


def _of_each(kind: str, c: dict, x: tuple) -> list:
    """Variables of a layer that keeps the shape."""
    if kind == "PReLU":
        shared = c.get("shared_axes") or []
        return [("alpha", tuple(1 if axis in shared else n for axis, n in enumerate(x, 1)), True)]
    if not kind.endswith("Normalization"):
        return []
    axis = c.get("axis", -1)
    if axis == 0:
        raise ValueError
    size = (x[axis - 1] if axis > 0 else x[axis],)
    found = [("gamma", size, True)] if c.get("scale", True) else []
    found += [("beta", size, True)] if c.get("center", True) else []
    if kind == "BatchNormalization":
        found += [("moving_mean", size, False), ("moving_variance", size, False)]
    return found
