"""Nodes of an ONNX graph that act on each number, or are numbers: activations, sums, products, shapes.

GELU below opset 20 is Div, Erf, Add, Mul, Mul; SiLU is Sigmoid, Mul; softsign is Abs, Add, Div. Their steps
are ``Partial`` until the last one comes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.artifacts import onnx_layers, onnx_limits
from gradleak.artifacts.layer_options import Refused
from gradleak.artifacts.onnx_graph import Node, shortest
from gradleak.artifacts.onnx_values import Net, Parameter, Partial, Tensor, Value

# Operators without options that have an activation of Keras.
ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
}
ROOT = 2**0.5
Number = float | list[float]


def activation(net: Net, node: Node, _: dict[str, Any]) -> Value:
    return _active(net, net.tensor(node), ACTIVATIONS[node.op])


def _active(net: Net, before: Tensor, name: str) -> Tensor:
    made = net.add("Activation", [before], before.shape, {"activation": name})
    return Tensor(made.layer, made.shape, name in ("relu", "sigmoid", "hard_sigmoid", "softmax", "softplus"))


def sigmoid(net: Net, node: Node, _: dict[str, Any]) -> Value:
    before = net.tensor(node)
    return Partial("sigmoid", before, (), lambda: _active(net, before, "sigmoid"))


def softmax(net: Net, node: Node, options: dict[str, Any]) -> Value:
    before = net.tensor(node)
    if len(before.shape) != 1 or options["axis"] not in (-1, 1):
        raise Refused(f"{node}: only over the classes of a vector of class scores")
    return _active(net, before, "softmax" if node.op == "Softmax" else "log_softmax")


def gelu(net: Net, node: Node, options: dict[str, Any]) -> Value:
    if options["approximate"] != "none":
        raise Refused(f"{node}: the approximation by {options['approximate']} is not taken; use nn.GELU()")
    return _active(net, net.tensor(node), "gelu")


def selu(net: Net, node: Node, options: dict[str, Any]) -> Value:
    if abs(options["alpha"] - 1.6732632) > 1e-6 or abs(options["gamma"] - 1.0507010) > 1e-6:
        raise Refused(f"{node}: alpha and gamma are not those of SELU")
    return _active(net, net.tensor(node), "selu")


def hard(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """HardSigmoid, and HardSwish, its product with x."""
    before = net.tensor(node)
    if node.op == "HardSigmoid" and (abs(options["alpha"] - 1 / 6) > 1e-6 or options["beta"] != 0.5):
        raise Refused(f"{node}: only clip(x / 6 + 1/2, 0, 1) is taken")
    gate = _active(net, before, "hard_sigmoid")
    return gate if node.op == "HardSigmoid" else net.add("Multiply", [before, gate], before.shape)


def leaky(net: Net, node: Node, options: dict[str, Any]) -> Value:
    before = net.tensor(node)
    return net.add("LeakyReLU", [before], before.shape, {"negative_slope": options["alpha"]})


def elu(net: Net, node: Node, options: dict[str, Any]) -> Value:
    before = net.tensor(node)
    return net.add("ELU", [before], before.shape, {"alpha": options["alpha"]})


def prelu(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """With one slope, or one a channel."""
    before, slope = net.tensor(node), net.value(node, 1)
    if not isinstance(slope, Parameter) or slope.shape[1:] not in ((), (1,) * (len(before.shape) - 1)):
        raise Refused(f"{node}: its slope is no tensor of the state dict")
    axes = list(range(1, len(before.shape)))
    if slope.shape[:1] == (1,):
        axes.append(len(before.shape))
    elif slope.shape[:1] != before.shape[:1]:
        raise Refused(f"{node}: {slope.key} has the shape {list(slope.shape)}, not one number a channel")
    return net.add("PReLU", [before], before.shape, {"shared_axes": axes or None}, {"alpha": slope.key})


def clip(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """ReLU6 and others from 0 to a number."""
    before, low, high = net.tensor(node), net.constant(node, 1), net.constant(node, 2)
    if low is None or low.size != 1 or low.item() != 0 or (high is not None and high.size != 1):
        raise Refused(f"{node}: only from 0 to one number is taken, as in nn.ReLU6")
    top = None if high is None else shortest(high.item())
    if top is not None and top <= 0:
        raise Refused(f"{node}: from 0 to {top} is nothing")
    made = net.add("ReLU", [before], before.shape, {"max_value": top})
    return Tensor(made.layer, made.shape, True)


def erf(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """The second step of GELU: erf(x / √2)."""
    found = net.value(node, 0)
    if isinstance(found, Partial) and found.kind == "affine":
        scale, offset = found.options
        if offset == 0 and isinstance(scale, float) and abs(scale * ROOT - 1) < 1e-6:
            return Partial("erf", found.base, (), _not_alone(node))
    raise Refused(f"{node}: only as a part of nn.GELU")


def _not_alone(node: Node, whole: str = "nn.GELU") -> Any:
    def make() -> Tensor:
        raise Refused(f"{node}: only as a part of {whole}")

    return make


def absolute(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """The first step of softsign, x / (|x| + 1)."""
    return Partial("abs", net.tensor(node), (), _not_alone(node, "nn.Softsign"))


def dropout(net: Net, node: Node, _: dict[str, Any]) -> Value:
    before, ratio = net.tensor(node), net.constant(node, 1)
    rate = 0.5 if ratio is None else shortest(ratio.item()) if ratio.size == 1 else -1.0
    if not 0 <= rate < 1:
        raise Refused(f"{node}: its ratio is no number from 0 to 1")
    made = net.add("Dropout", [before], before.shape, {"rate": rate})
    return Tensor(made.layer, made.shape, before.is_positive)


def concat(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """Of channels, of vectors, or of whole numbers."""
    values = [net.value(node, index) for index in range(len(node.inputs))]
    numbers = [one.ravel() for one in values if isinstance(one, np.ndarray) and one.ndim <= 1]
    if numbers and len(numbers) == len(values):
        return _small(node, np.concatenate(numbers))
    if len(values) < 2:
        raise Refused(f"{node}: of {len(values)} tensors")
    tensors = [net.tensor(node, index) for index in range(len(node.inputs))]
    axes = (1, -len(tensors[0].shape))
    if options["axis"] not in axes or len({one.shape[1:] for one in tensors}) != 1:
        raise Refused(f"{node}: only images of equal size, or vectors, are joined, along axis 1")
    shape = (sum(one.shape[0] for one in tensors), *tensors[0].shape[1:])
    made = net.add("Concatenate", tensors, shape, {"axis": -1})
    return Tensor(made.layer, shape, all(one.is_positive for one in tensors))


# --- sums and products --------------------------------------------------------------------------------------


def binary(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """Add, Sub, Mul and Div of two tensors, of a tensor and numbers, or as the end of a longer function."""
    if len(node.inputs) != 2:
        raise Refused(f"{node}: of {len(node.inputs)} tensors")
    one, other = net.value(node, 0), net.value(node, 1)
    if isinstance(one, np.ndarray) and node.op in ("Add", "Mul"):
        one, other = other, one
    if isinstance(other, np.ndarray) and isinstance(one, Tensor | Partial):
        return _with_numbers(net, node, one, other)
    for first, second in ((one, other), (other, one)):
        ended = _ended(net, node, first, second)
        if ended is not None:
            return ended
    kind = {"Add": "Add", "Mul": "Multiply", "Sub": "Subtract"}.get(node.op)
    tensors = [net.tensor(node, 0), net.tensor(node, 1)]
    if kind is None or tensors[0].shape != tensors[1].shape:
        shapes = [list(tensor.shape) for tensor in tensors]
        raise Refused(f"{node}: of tensors of the shapes {shapes[0]} and {shapes[1]} is not taken")
    return net.add(kind, tensors, tensors[0].shape)


def _ended(net: Net, node: Node, one: Value | None, other: Value | None) -> Value | None:
    """The function whose last but one step is ``one``, where ``other`` ends it."""
    if not isinstance(one, Partial):
        return None
    step = (node.op, one.kind)
    if isinstance(other, Parameter):
        if step == ("Add", "dense"):
            return onnx_layers.with_bias(net, node, one, other)
        if step == ("Mul", "groups"):
            return onnx_layers.scaled_groups(net, node, one, other)
        if step == ("Add", "scaled groups"):
            return onnx_layers.moved_groups(net, node, one, other)
    if step == ("Mul", "sigmoid") and other == one.base:
        return _active(net, one.base, "silu")
    if step == ("Div", "1 + abs") and other == one.base:
        return _active(net, one.base, "softsign")
    if step == ("Mul", "1 + erf"):
        if other == one.base:
            return Partial("twice gelu", one.base, (), _not_alone(node))
        if isinstance(other, Partial) and (other.base, other.kind, other.options) == (
            one.base,
            "affine",
            (0.5, 0.0),
        ):
            return _active(net, one.base, "gelu")
    return None


def _with_numbers(net: Net, node: Node, one: Tensor | Partial, numbers: np.ndarray) -> Value:
    """a·x + b, and the steps of GELU with a number."""
    if isinstance(one, Partial) and numbers.size == 1:
        if (node.op, one.kind, numbers.item()) == ("Add", "erf", 1):
            return Partial("1 + erf", one.base, (), _not_alone(node))
        if (node.op, one.kind, numbers.item()) == ("Add", "abs", 1):
            return Partial("1 + abs", one.base, (), _not_alone(node, "nn.Softsign"))
        if (node.op, one.kind, numbers.item()) == ("Mul", "twice gelu", 0.5):
            return _active(net, one.base, "gelu")
    if isinstance(one, Partial) and one.kind == "affine":
        base, scale, offset = one.base, *(np.asarray(option) for option in one.options)
    else:
        base = net.whole(one) if isinstance(one, Partial) else one
        scale, offset = np.asarray(1.0), np.asarray(0.0)
    if node.op in ("Add", "Sub"):
        offset = offset + (1 if node.op == "Add" else -1) * _by_channel(node, base, numbers)
    else:
        factor = _by_channel(node, base, numbers)
        if node.op == "Div" and not np.all(factor):
            raise Refused(f"{node}: divides by 0")
        factor = 1 / factor if node.op == "Div" else factor
        scale, offset = scale * factor, offset * factor
    options = _as_option(scale), _as_option(offset)
    config = {"scale": options[0], "offset": options[1]}
    is_identity = np.all(scale == 1) and not np.any(offset)
    return Partial(
        "affine",
        base,
        options,
        lambda: base if is_identity else net.add("Rescaling", [base], base.shape, config),
    )


def _by_channel(node: Node, base: Tensor, numbers: np.ndarray) -> np.ndarray:
    """One number, or one a channel of an image."""
    if numbers.size == 1:
        return np.asarray(float(numbers.item()))
    channels = base.shape[0]
    if len(base.shape) != 3 or numbers.shape not in ((channels, 1, 1), (1, channels, 1, 1)):
        raise Refused(f"{node}: with numbers of the shape {list(numbers.shape)} is not taken")
    return numbers.astype(np.float64).ravel()


def _as_option(values: np.ndarray) -> Number:
    return float(values) if values.ndim == 0 else [float(one) for one in values]


# --- numbers and parameters ---------------------------------------------------------------------------------


def constant(net: Net, node: Node, options: dict[str, Any]) -> Value:
    given = [value for value in options.values() if value is not None]
    if len(given) != 1:
        raise Refused(f"{node}: has {len(given)} values")
    value = np.asarray(given[0])
    if value.dtype.kind not in "iufb":
        raise Refused(f"{node}: is no number")
    return _small(node, value)


def _small(node: Node, values: np.ndarray) -> np.ndarray:
    if values.size > onnx_limits.MAX_CONSTANT:
        raise Refused(f"{node}: {values.size} numbers are more than the limit of {onnx_limits.MAX_CONSTANT}")
    return values


def identity(net: Net, node: Node, _: dict[str, Any]) -> Value:
    found = net.value(node, 0)
    if found is None:
        raise Refused(f"{node} has no input")
    return found


def shape(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """Of a tensor; -1 for the number of examples if it is free."""
    return np.array([net.graph.batch or -1, *net.tensor(node).shape])


def gather(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """Entries of a shape."""
    values, places = net.integers(node, 0), net.constant(node, 1)
    if values is None or places is None or places.dtype.kind not in "iu" or options["axis"] != 0:
        raise Refused(f"{node}: only entries of a shape are taken")
    if np.any(places < -len(values)) or np.any(places >= len(values)):
        raise Refused(f"{node}: the shape has no such entry")
    return np.array(values)[places]


def unsqueeze(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """Of numbers, and of a parameter with one number a channel, (C,) → (C, 1, 1)."""
    found, axes = net.value(node, 0), net.integers(node, 1)
    if isinstance(found, np.ndarray) and axes and _are_new(axes, found.ndim):
        return np.expand_dims(found, tuple(axes))
    if isinstance(found, Parameter) and len(found.shape) == 1 and axes in ([1], [1, 2]):
        return Parameter(found.key, (*found.shape, *(1,) * len(axes)))
    raise Refused(f"{node}: the axes {axes} are not taken here")


def _are_new(axes: list[int], rank: int) -> bool:
    """Whether ``axes`` can be added to numbers of ``rank`` axes, which then have at most four."""
    return sorted(set(axes)) == axes and axes[0] >= 0 and axes[-1] < len(axes) + rank <= 4


def squeeze(net: Net, node: Node, _: dict[str, Any]) -> Value:
    """Of the axes behind global pooling, which have one number each."""
    before, axes = net.tensor(node), net.integers(node, 1)
    if (
        len(before.shape) != 3
        or before.shape[1:] != (1, 1)
        or axes is None
        or sorted(axes) not in ([2, 3], [-2, -1])
    ):
        raise Refused(f"{node}: the axes {axes} of a tensor {list(before.shape)} are not taken")
    return Tensor(net.add("Flatten", [before], before.shape[:1]).layer, before.shape[:1], before.is_positive)


def transpose(net: Net, node: Node, options: dict[str, Any]) -> Value:
    """Of a dense kernel."""
    found = net.value(node, 0)
    if not isinstance(found, Parameter) or len(found.shape) != 2 or options["perm"] != [1, 0]:
        raise Refused(
            f"{node}: the order {options['perm']} of the axes is not taken; only a dense kernel is turned"
        )
    return Parameter(found.key, found.shape[::-1], not found.is_transposed)
