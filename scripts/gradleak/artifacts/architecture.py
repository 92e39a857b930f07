"""A stranger's Keras JSON (Keras 2 or 3) → the same model, written anew from allowlisted parts alone.

Nothing of the original text reaches Keras: each layer's class, options and connections are read here, checked
against a list, measured (parameters, activations, work) before anything is built, and written as Keras 3 JSON.
Initialisers, constraints and regularisers are left out: the weights come from a file, and what changes the client's
gradient is noted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError

ACTIVATIONS = (
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "exponential",
    "softmax",
    "log_softmax",
)


@dataclass(frozen=True)
class Variable:
    """A weight as the model will have it. name: ``layer/kernel``; flat: (H, W, C) where a Dense kernel reads a Flatten."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    flat: tuple[int, int, int] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Architecture:
    """json: checked Keras 3 JSON. variables: in the order of ``model.weights``. notes: what was changed or is odd.

    groups: layer → its group in a .weights.h5 file, where layers go by class and number and not by name.
    """

    json: str
    variables: list[Variable]
    notes: list[str]
    groups: dict[str, str]

    @property
    def parameters(self) -> int:
        return sum(variable.size for variable in self.variables)


def parse_json(text: bytes | str, what: str) -> Any:
    """JSON without duplicate keys, NaN, or more size and depth than any model or metadata needs."""
    if len(text) > limits.MAX_JSON:
        raise ArtifactError(f"{what}: {len(text)} bytes of JSON are more than the limit of {limits.MAX_JSON}")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what}: not valid JSON ({_first_line(error)})") from None
    _check_depth(value, what)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_depth(value: Any, what: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > limits.MAX_DEPTH:
            raise ArtifactError(
                f"{what}: not valid JSON for any of this (nested deeper than {limits.MAX_DEPTH})"
            )
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]


# --- the allowlist ------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """A reason, without the file and layer that ``read`` puts in front of it."""


def _size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= limits.MAX_SIZE:
        raise _Refused(f"must be a whole number from 1 to {limits.MAX_SIZE}, not {_short(value)}")
    return value


def _axis(value: Any) -> int:
    if isinstance(value, list) and len(value) == 1:  # as Keras 2 wrote BatchNormalization's
        value = value[0]
    if type(value) is not int or abs(value) > limits.MAX_RANK:
        raise _Refused(f"must be one axis, not {_short(value)}")
    return value


def _pair(value: Any) -> list[int]:
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2:
        raise _Refused(f"must be one or two numbers, not {_short(value)}")
    return [_size(one) for one in pair]


def _margin(value: Any) -> list[list[int]]:
    """Padding or cropping of height and width: one number, two, or two pairs; zeros are fine."""
    rows = value if isinstance(value, list) else [value, value]
    full = [row if isinstance(row, list) else [row, row] for row in rows]
    if len(full) != 2 or any(len(row) != 2 for row in full):
        raise _Refused(f"must be two pairs of numbers, not {_short(value)}")
    return [[0 if one == 0 and type(one) is int else _size(one) for one in row] for row in full]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused(f"must be true or false, not {_short(value)}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise _Refused(f"must be a finite number, not {_short(value)}")
    return value


def _number_or_null(value: Any) -> float | None:
    return None if value is None else _number(value)


def _numbers(value: Any) -> Any:
    return [_number(one) for one in value] if isinstance(value, list) and value else _number(value)


def _sizes(value: Any) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= limits.MAX_RANK:
        raise _Refused(f"must be a list of sizes, not {_short(value)}")
    return [-1 if one == -1 else _size(one) for one in value]


def _axes_or_null(value: Any) -> list[int] | None:
    return None if value is None else _sizes(value)


def _word(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise _Refused(f"must be {' or '.join(choices)}, not {_short(value)}")
        return value

    return check


def _activation(value: Any) -> str:
    if isinstance(value, dict) and value.get("class_name") == "function":  # as Keras 3 writes some of them
        value = value.get("config")
    if value is None:
        return "linear"
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise _Refused(f"{_short(value)} is not one of {', '.join(ACTIVATIONS)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


LAST = _word("channels_last")
PADDING = _word("valid", "same")
CONV = {
    "kernel_size": _pair,
    "strides": _pair,
    "padding": PADDING,
    "data_format": LAST,
    "dilation_rate": _pair,
    "activation": _activation,
    "use_bias": _flag,
}
POOL = {"pool_size": _pair, "strides": _pair, "padding": PADDING, "data_format": LAST}
NORM = {"axis": _axis, "epsilon": _number, "center": _flag, "scale": _flag}
# class → option → check. Every option that is not here has to be null or to be among IGNORED.
LAYERS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "Dense": {"units": _size, "activation": _activation, "use_bias": _flag},
    "Conv2D": {"filters": _size, "groups": _size, **CONV},
    "DepthwiseConv2D": {"depth_multiplier": _size, **CONV},
    "SeparableConv2D": {"filters": _size, "depth_multiplier": _size, **CONV},
    "MaxPooling2D": POOL,
    "AveragePooling2D": POOL,
    "GlobalAveragePooling2D": {"data_format": LAST, "keepdims": _flag},
    "GlobalMaxPooling2D": {"data_format": LAST, "keepdims": _flag},
    "Flatten": {"data_format": LAST},
    "Reshape": {"target_shape": _sizes},
    "Dropout": {"rate": _number},
    "SpatialDropout2D": {"rate": _number, "data_format": LAST},
    "GaussianNoise": {"stddev": _number},
    "GaussianDropout": {"rate": _number},
    "BatchNormalization": {"momentum": _number, **NORM},
    "LayerNormalization": NORM,
    "GroupNormalization": {"groups": _size, **NORM},
    "Activation": {"activation": _activation},
    "ReLU": {"max_value": _number_or_null, "negative_slope": _number, "threshold": _number},
    "LeakyReLU": {"negative_slope": _number},
    "ELU": {"alpha": _number},
    "PReLU": {"shared_axes": _axes_or_null},
    "Softmax": {"axis": _axis},
    "ZeroPadding2D": {"padding": _margin, "data_format": LAST},
    "Cropping2D": {"cropping": _margin, "data_format": LAST},
    "UpSampling2D": {"size": _pair, "data_format": LAST, "interpolation": _word("nearest", "bilinear")},
    "Rescaling": {"scale": _numbers, "offset": _numbers},
    "Add": {},
    "Average": {},
    "Concatenate": {"axis": _axis},
}
RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
# Of no effect on a model whose weights are loaded and whose gradient is taken in float32, outside training.
IGNORED = re.compile(
    r"name|trainable|dtype|autocast|seed|batch_input_shape|batch_shape|synchronized|renorm_\w+|\w+_initializer"
)
NOTED = re.compile(r"\w+_(regularizer|constraint)")


def read(text: bytes | str, what: str = "model") -> Architecture:
    """Check and rewrite a model's JSON. Raises ArtifactError that names ``what``, the layer and the option."""
    value = parse_json(text, what)
    try:
        return _model(value)
    except _Refused as error:
        raise ArtifactError(f"{what}: {error}") from None


def is_model(value: Any) -> bool:
    """Whether a JSON value claims to be a Keras model."""
    return isinstance(value, dict) and isinstance(value.get("config"), dict | list) and "class_name" in value


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    config: dict[str, Any]
    inputs: list[str]
    trainable: bool


def _model(value: Any) -> Architecture:
    if not is_model(value):
        raise _Refused(f"no Keras model (has no class_name and config, but is {_short(value)})")
    kind, config = value["class_name"], value["config"]
    if kind == "Model":  # Keras 1 and 2 called it so
        kind = "Functional"
    if kind not in ("Sequential", "Functional") or not _is_builtin(value):
        raise _Refused(
            f"the model's class {_short(value['class_name'])} is neither Sequential nor Functional: "
            "custom code is not run. Rebuild it from plain layers and save that model's JSON"
        )
    config = {"layers": config} if isinstance(config, list) else config  # Keras 1 and early 2
    entries = config.get("layers")
    if not isinstance(entries, list) or not entries:
        raise _Refused("the model has no layers")
    if len(entries) > limits.MAX_LAYERS:
        raise _Refused(f"{len(entries)} layers are more than the limit of {limits.MAX_LAYERS}")
    notes: list[str] = []
    if not value.get("module"):
        notes.append(f"upgraded from Keras {_short(value.get('keras_version', 'of unknown version'))} JSON")
    shape = _input_shape(entries, config)
    layers = [_layer(entry, notes) for entry in entries if not _is_input(entry)]
    if kind == "Sequential":
        source = "input"
        taken = {layer.name for layer in layers}
        while source in taken:
            source += "_"
        previous = [source, *(layer.name for layer in layers)]
        layers = [
            _Layer(x.kind, x.name, x.config, [before], x.trainable) for x, before in zip(layers, previous)
        ]
        output = previous[-1]
    else:
        source = next(_name(entry) for entry in entries if _is_input(entry))
        if _end(config.get("input_layers"), "input_layers") != source:
            raise _Refused("needs one input layer that is the model's input")
        output = _end(config.get("output_layers"), "output_layers")
    names = [source, *(layer.name for layer in layers)]
    if len(set(names)) != len(names):
        raise _Refused("two layers have the same name")
    if output not in names[1:]:
        raise _Refused("the model's output is no layer of it")
    variables = _measure(layers, source, shape)
    total = sum(v.size for v in variables)
    if total > limits.MAX_PARAMETERS:
        raise _Refused(f"{total} parameters are more than the limit of {limits.MAX_PARAMETERS}")
    name = config.get("name")
    name = name if isinstance(name, str) and re.fullmatch(r"[\w.\-]{1,100}", name) else "model"
    text = _written(kind, name, source, shape, layers, output)
    return Architecture(text, variables, list(dict.fromkeys(notes)), _groups(layers))


def _groups(layers: list[_Layer]) -> dict[str, str]:
    found, counts = {}, {}
    for layer in layers:
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", layer.kind)).lower()
        number = counts[snake] = counts.get(snake, -1) + 1
        found[layer.name] = f"layers/{snake}_{number}" if number else f"layers/{snake}"
    return found


def _is_builtin(entry: dict) -> bool:
    module, registered = entry.get("module"), entry.get("registered_name")
    plain = module is None or (isinstance(module, str) and re.fullmatch(r"(tf_)?keras(\.[\w.]+)?", module))
    return bool(plain) and (registered is None or registered == entry.get("class_name"))


def _is_input(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("class_name") == "InputLayer"


def _name(entry: dict) -> str:
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.\-/ ]{1,100}", name):
        raise _Refused(f"a layer's name is missing or odd: {_short(name)}")
    return name.replace("/", "_")


def _input_shape(entries: list, config: dict) -> tuple[int, ...]:
    """The shape of one image, from wherever this version of Keras wrote it."""
    inputs = [entry for entry in entries if _is_input(entry)]
    if len(inputs) > 1:
        raise _Refused(f"has {len(inputs)} inputs; one image tensor is what can be attacked")
    first = (inputs or entries)[0]
    own = first.get("config") if isinstance(first, dict) else None
    own = own if isinstance(own, dict) else {}
    found = own.get("batch_shape") or own.get("batch_input_shape") or config.get("build_input_shape")
    if not isinstance(found, list) or not 2 <= len(found) <= limits.MAX_RANK:
        raise _Refused("the shape of its input is not given; build the model before saving its JSON")
    if own.get("sparse") or own.get("ragged"):
        raise _Refused("its input is sparse or ragged, not images")
    if any(one is None for one in found[1:]):
        raise _Refused(f"the input shape {_short(found)} is not fixed")
    return tuple(_size(one) for one in found[1:])


def _layer(entry: Any, notes: list[str]) -> _Layer:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise _Refused(f"a layer is {_short(entry)}, not a class with a config")
    name, kind = _name(entry), entry.get("class_name")
    if kind in ("Sequential", "Functional", "Model"):
        raise _Refused(f"layer {name} is a model inside the model; write its layers out")
    if not isinstance(kind, str) or kind not in LAYERS or not _is_builtin(entry):
        raise _Refused(
            f"layer {name} is of class {_short(kind)}, which is not on the list of layers that are built: "
            f"{', '.join(LAYERS)}"
        )
    given = {RENAMED.get((kind, key), key): value for key, value in entry["config"].items()}
    config: dict[str, Any] = {}
    for key, value in given.items():
        if key in LAYERS[kind]:
            try:
                config[key] = LAYERS[kind][key](value)
            except _Refused as error:
                raise _Refused(f"layer {name}: {key} {error}") from None
        elif NOTED.fullmatch(key):
            if value is not None:
                notes.append(
                    f"{name} has a {key.replace('_', ' ')}: what it adds to the client's gradient is not told apart"
                    if key.endswith("regularizer")
                    else f"{name} has a {key.replace('_', ' ')}, which is left out"
                )
        elif not IGNORED.fullmatch(key) and value not in (None, False) and key != "optional":
            raise _Refused(f"layer {name}: the option {_short(key)} of {kind} is not known")
    if not _is_float32(given.get("dtype")):
        notes.append(f"{name} was not float32; it is built as float32")
    trainable = given.get("trainable", True)
    return _Layer(
        kind, name, config, _inbound(entry, name), _flag(trainable) if trainable is not None else True
    )


def _is_float32(dtype: Any) -> bool:
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    return dtype in (None, "float32")


def _inbound(entry: dict, name: str) -> list[str]:
    """The names of the layers that this one reads, from Keras 3's nodes or the lists of earlier versions."""
    nodes = entry.get("inbound_nodes")
    if not nodes:
        return []
    if not isinstance(nodes, list) or len(nodes) != 1:
        raise _Refused(f"layer {name} is used more than once; shared weights are not supported")
    node, found = nodes[0], []
    left = [node.get("args")] if isinstance(node, dict) else [node]
    if isinstance(node, dict) and any(
        v is not None for k, v in (node.get("kwargs") or {}).items() if k != "training"
    ):
        raise _Refused(f"layer {name} is called with arguments, which is not supported")
    while left:
        one = left.pop(0)
        if isinstance(one, dict) and one.get("class_name") == "__keras_tensor__":
            one = (one.get("config") or {}).get("keras_history")
        if isinstance(one, list) and len(one) >= 3 and isinstance(one[0], str):
            if one[1:3] != [0, 0] or one[3:] not in ([], [{}]):
                raise _Refused(f"layer {name} is called with arguments or reads a layer used twice")
            found.append(one[0].replace("/", "_"))
        elif isinstance(one, list):
            left = one + left
        else:
            raise _Refused(f"the inputs of layer {name} cannot be read")
    if len(found) > limits.MAX_LAYERS:
        raise _Refused(f"layer {name} has {len(found)} inputs")
    return found


def _end(value: Any, what: str) -> str:
    """The layer name in ``[name, 0, 0]`` or ``[[name, 0, 0]]``."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise _Refused(f"{what} is {_short(value)}; a model of one input and one output is needed")
    return value[0].replace("/", "_")


# --- measuring, before anything is built ---------------------------------------------------------------------------


def _measure(layers: list[_Layer], source: str, shape: tuple[int, ...]) -> list[Variable]:
    """The model's variables in layer order; refuses what would be too large to run."""
    shapes: dict[str, tuple[int, ...]] = {source: shape}
    found: dict[str, list[Variable]] = {}
    before = {layer.name: layer for layer in layers}
    left, work = list(layers), 0
    while left:
        ready = [layer for layer in left if layer.inputs and all(name in shapes for name in layer.inputs)]
        if not ready:
            raise _Refused(f"layer {left[0].name} is not connected to the input")
        for layer in ready:
            came = [shapes[name] for name in layer.inputs]
            try:
                out, weights, layer_work = _outcome(layer, came)
            except (IndexError, ValueError, ZeroDivisionError, KeyError):
                raise _Refused(
                    f"layer {layer.name} ({layer.kind}) does not fit its input {list(came[0])}"
                ) from None
            if math.prod(out) > limits.MAX_ACTIVATIONS or any(one < 1 for one in out):
                raise _Refused(
                    f"layer {layer.name} gives an output of shape {list(out)} for one image, "
                    f"which is {'nothing' if min(out) < 1 else 'more than the limit of ' + str(limits.MAX_ACTIVATIONS)}"
                )
            work += layer_work
            if work > limits.MAX_WORK:
                raise _Refused(
                    f"layer {layer.name}: one image costs more than {limits.MAX_WORK} multiplications"
                )
            shapes[layer.name] = out
            behind = before.get(layer.inputs[0])
            image = shapes.get(behind.inputs[0]) if behind and behind.kind == "Flatten" else None
            found[layer.name] = [
                Variable(
                    f"{layer.name}/{name}",
                    size,
                    layer.trainable and trained,
                    image
                    if layer.kind == "Dense" and name == "kernel" and image and len(image) == 3
                    else None,
                )
                for name, size, trained in weights
            ]
            left.remove(layer)
    return [variable for layer in layers for variable in found[layer.name]]


def _outcome(layer: _Layer, came: list[tuple[int, ...]]) -> tuple[tuple[int, ...], list, int]:
    """(output shape of one image, [(name, shape, trainable)], multiply-adds)."""
    kind, c, x = layer.kind, layer.config, came[0]
    if kind in ("Add", "Average", "Concatenate"):
        return _merged(kind, c, came), [], 0
    if len(came) != 1:
        raise _Refused(f"layer {layer.name} ({kind}) has {len(came)} inputs")
    bias = c.get("use_bias", True)
    if kind == "Dense":
        units = c["units"]
        return (
            (*x[:-1], units),
            [("kernel", (x[-1], units), True), *_biases(bias, units)],
            math.prod(x) * units,
        )
    if kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
        return _convolved(kind, c, x, bias)
    if kind in ("MaxPooling2D", "AveragePooling2D"):
        pool = c.get("pool_size", [2, 2])
        return (*_slid(x, pool, c.get("strides", pool), [1, 1], c.get("padding", "valid")), x[2]), [], 0
    if kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        return ((1, 1, x[2]) if c.get("keepdims") else (x[2],)), [], 0
    if kind == "Flatten":
        return (math.prod(x),), [], 0
    if kind == "Reshape":
        return _reshaped(x, c["target_shape"]), [], 0
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = c.get("padding", [[1, 1], [1, 1]])
        return (x[0] + top + bottom, x[1] + left + right, x[2]), [], 0
    if kind == "Cropping2D":
        (top, bottom), (left, right) = c.get("cropping", [[0, 0], [0, 0]])
        return (x[0] - top - bottom, x[1] - left - right, x[2]), [], 0
    if kind == "UpSampling2D":
        height, width = c.get("size", [2, 2])
        return (x[0] * height, x[1] * width, x[2]), [], 0
    return x, _of_each(kind, c, x), math.prod(x)


def _biases(there: bool, size: int) -> list:
    return [("bias", (size,), True)] if there else []


def _convolved(kind: str, c: dict, x: tuple, bias: bool) -> tuple:
    kernel, channels = c["kernel_size"], x[2]
    area = _slid(
        x, kernel, c.get("strides", [1, 1]), c.get("dilation_rate", [1, 1]), c.get("padding", "valid")
    )
    if kind == "Conv2D":
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


def _slid(x: tuple, window: list, strides: list, dilation: list, padding: str) -> tuple[int, int]:
    """Height and width after a window slid over (H, W, C)."""
    if len(x) != 3:
        raise ValueError
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    if padding == "same":
        return tuple(-(-size // s) for size, s in zip(x, strides))
    return tuple((size - r) // s + 1 for size, r, s in zip(x, reach, strides))


def _merged(kind: str, c: dict, came: list[tuple]) -> tuple[int, ...]:
    if kind != "Concatenate":
        if len(set(came)) != 1:
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


# --- writing --------------------------------------------------------------------------------------------------------


def _written(kind: str, name: str, source: str, shape: tuple, layers: list[_Layer], output: str) -> str:
    entry = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "registered_name": None,
        "config": {"batch_shape": [None, *shape], "dtype": "float32", "name": source},
    }
    entries = [entry | ({"name": source, "inbound_nodes": []} if kind == "Functional" else {})]
    for layer in layers:
        config = {"name": layer.name, "trainable": layer.trainable, "dtype": "float32", **layer.config}
        entry = {
            "module": "keras.layers",
            "class_name": layer.kind,
            "registered_name": None,
            "config": config,
        }
        if kind == "Functional":
            entry |= {"name": layer.name, "inbound_nodes": [[[n, 0, 0, {}] for n in layer.inputs]]}
        entries.append(entry)
    config = {"name": name, "trainable": True, "layers": entries}
    if kind == "Functional":
        config |= {"input_layers": [source, 0, 0], "output_layers": [output, 0, 0]}
    kind = "Model" if kind == "Functional" else kind  # the public name of the class that Keras builds from it
    return json.dumps({"module": "keras", "class_name": kind, "registered_name": None, "config": config})
