"""The layers that are built, the options of each, and the values that an option may have: the allow-list.

An option of a layer is read by a check: a function that returns the value in the form of Keras 3, or raises
Refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gradleak.artifacts import limits

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


class Refused(Exception):
    """Why a model is not built. The file and the layer are added where it is caught."""


def size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= limits.MAX_SIZE:
        raise Refused(f"must be a whole number from 1 to {limits.MAX_SIZE}, not {short(value)}")
    return value


def _axis(value: Any) -> int:
    if isinstance(value, list) and len(value) == 1:  # as Keras 2 wrote BatchNormalization's
        value = value[0]
    if type(value) is not int or abs(value) > limits.MAX_RANK:
        raise Refused(f"must be one axis, not {short(value)}")
    return value


def _pair(value: Any) -> list[int]:
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2:
        raise Refused(f"must be one or two numbers, not {short(value)}")
    return [size(one) for one in pair]


def _single(value: Any) -> list[int]:
    """A size along the one axis of a signal."""
    one = value if isinstance(value, list) else [value]
    if len(one) != 1:
        raise Refused(f"must be one number, not {short(value)}")
    return [size(one[0])]


def _ends(value: Any) -> list[int]:
    """Padding before and after a signal: one number or two; zeros are fine."""
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2:
        raise Refused(f"must be one or two numbers, not {short(value)}")
    return [0 if one == 0 and type(one) is int else size(one) for one in ends]


def _margin(value: Any) -> list[list[int]]:
    """Padding or cropping of height and width: one number, two, or two pairs; zeros are fine."""
    rows = value if isinstance(value, list) else [value, value]
    full = [row if isinstance(row, list) else [row, row] for row in rows]
    if len(full) != 2 or any(len(row) != 2 for row in full):
        raise Refused(f"must be two pairs of numbers, not {short(value)}")
    return [[0 if one == 0 and type(one) is int else size(one) for one in row] for row in full]


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"must be true or false, not {short(value)}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise Refused(f"must be a finite number, not {short(value)}")
    return value


def _number_or_null(value: Any) -> float | None:
    return None if value is None else _number(value)


def _numbers(value: Any) -> Any:
    return [_number(one) for one in value] if isinstance(value, list) and value else _number(value)


def _sizes(value: Any) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= limits.MAX_RANK:
        raise Refused(f"must be a list of sizes, not {short(value)}")
    return [-1 if one == -1 else size(one) for one in value]


def _order(value: Any) -> list[int]:
    """An order of the axes, from 1."""
    order = _sizes(value)
    if sorted(order) != list(range(1, len(order) + 1)):
        raise Refused(f"must be an order of the axes from 1, not {short(value)}")
    return order


def _axes_or_null(value: Any) -> list[int] | None:
    return None if value is None else _sizes(value)


def _word(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise Refused(f"must be {' or '.join(choices)}, not {short(value)}")
        return value

    return check


def _activation(value: Any) -> str:
    if isinstance(value, dict) and value.get("class_name") == "function":  # as Keras 3 writes some of them
        value = value.get("config")
    if value is None:
        return "linear"
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise Refused(f"{short(value)} is not one of {', '.join(ACTIVATIONS)}")
    return value


def short(value: Any) -> str:
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
    "use_bias": flag,
}
CONV_1D = CONV | {
    "kernel_size": _single,
    "strides": _single,
    "padding": _word("valid", "same", "causal"),
    "dilation_rate": _single,
}
POOL_1D = {"pool_size": _single, "strides": _single, "padding": PADDING, "data_format": LAST}
POOL = {"pool_size": _pair, "strides": _pair, "padding": PADDING, "data_format": LAST}
NORM = {"axis": _axis, "epsilon": _number, "center": flag, "scale": flag}
# class → option → check. Every option that is not here has to be null or to be among IGNORED.
LAYERS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "Dense": {"units": size, "activation": _activation, "use_bias": flag},
    "Conv2D": {"filters": size, "groups": size, **CONV},
    "Conv1D": {"filters": size, "groups": size, **CONV_1D},
    "DepthwiseConv2D": {"depth_multiplier": size, **CONV},
    "SeparableConv2D": {"filters": size, "depth_multiplier": size, **CONV},
    "MaxPooling2D": POOL,
    "AveragePooling2D": POOL,
    "MaxPooling1D": POOL_1D,
    "AveragePooling1D": POOL_1D,
    "GlobalAveragePooling1D": {"data_format": LAST, "keepdims": flag},
    "GlobalMaxPooling1D": {"data_format": LAST, "keepdims": flag},
    "GlobalAveragePooling2D": {"data_format": LAST, "keepdims": flag},
    "GlobalMaxPooling2D": {"data_format": LAST, "keepdims": flag},
    "Flatten": {"data_format": LAST},
    "Reshape": {"target_shape": _sizes},
    "Permute": {"dims": _order},
    "Dropout": {"rate": _number},
    "SpatialDropout1D": {"rate": _number},
    "SpatialDropout2D": {"rate": _number, "data_format": LAST},
    "GaussianNoise": {"stddev": _number},
    "GaussianDropout": {"rate": _number},
    "BatchNormalization": {"momentum": _number, **NORM},
    "LayerNormalization": NORM,
    "GroupNormalization": {"groups": size, **NORM},
    "Activation": {"activation": _activation},
    "ReLU": {"max_value": _number_or_null, "negative_slope": _number, "threshold": _number},
    "LeakyReLU": {"negative_slope": _number},
    "ELU": {"alpha": _number},
    "PReLU": {"shared_axes": _axes_or_null},
    "Softmax": {"axis": _axis},
    "ZeroPadding1D": {"padding": _ends, "data_format": LAST},
    "ZeroPadding2D": {"padding": _margin, "data_format": LAST},
    "Cropping2D": {"cropping": _margin, "data_format": LAST},
    "UpSampling2D": {"size": _pair, "data_format": LAST, "interpolation": _word("nearest", "bilinear")},
    "Rescaling": {"scale": _numbers, "offset": _numbers},
    "Add": {},
    "Average": {},
    "Maximum": {},
    "Multiply": {},
    "Subtract": {},
    "Concatenate": {"axis": _axis},
}
_TOKENS = "reads tokens, whose ids have no gradient; only inputs that are numbers can be attacked"
_SEQUENCES = "reads a sequence step by step; its gradient is no sum of one product an example"
# Classes that are often asked for, and why no attack applies to them.
UNSUITED = {
    **dict.fromkeys(("Embedding", "TextVectorization", "StringLookup", "IntegerLookup"), _TOKENS),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "Bidirectional", "RNN"), _SEQUENCES),
}
RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
# Of no effect on a model whose weights are loaded and whose gradient is taken in float32, outside training.
IGNORED = re.compile(
    r"name|trainable|dtype|autocast|seed|batch_input_shape|batch_shape|synchronized"
    r"|renorm_\w+|\w+_initializer"
)
# Options that layers of Keras 2 write beside their own, and their values without effect. Null and false have
# none in any option.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,),
    "fused": (True,),
    "implementation": (0, 1, 2),
    "optional": (True,),
}
NOTED = re.compile(r"\w+_(regularizer|constraint)")
