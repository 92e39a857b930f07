"""Tensors in PyTorch's layout → in Keras's.

Kernels of dense layers are (outputs, inputs) in PyTorch and (inputs, outputs) in Keras; those of convolutions
(outputs, inputs, height, width) and (height, width, inputs, outputs), of signals (outputs, inputs, length)
and (length, inputs, outputs). A layer behind a flattened image reads
its elements in another order (``artifacts.flattening``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradleak.artifacts.flattening import Order

LAYOUTS = ("keras", "torch")


@dataclass(frozen=True)
class Flattened:
    """What PyTorch's order of flattened images needs.

    orders: id of a variable → order of its first axis. unordered: names of the layers behind which the order
    is not known.
    """

    orders: dict[int, Order] = field(default_factory=dict)
    unordered: tuple[str, ...] = ()


def fits(array: np.ndarray, variable: Any, layout: str) -> bool:
    """Whether an array in ``layout`` has the variable's shape once it is in Keras's."""
    return _shape_in_keras(array.shape, variable, layout) == tuple(variable.shape)


def to_keras(array: np.ndarray, variable: Any, layout: str, order: Order | None) -> np.ndarray:
    """An array in ``layout``, which fits, in Keras's. order: of the elements that the variable reads."""
    if layout == "keras":
        return array
    if order:
        array = _reordered(array, order)
    if array.ndim == 2:
        array = array.T
    elif array.ndim == 4 and _is_depthwise(array.shape, variable):
        array = array.reshape(*variable.shape[2:], *array.shape[2:]).transpose(2, 3, 0, 1)
    elif array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 3 and _is_signal_kernel(variable):
        array = array.transpose(2, 1, 0)
    return np.ascontiguousarray(array.reshape(tuple(variable.shape)))


def _shape_in_keras(shape: tuple[int, ...], variable: Any, layout: str) -> tuple[int, ...]:
    wanted = tuple(variable.shape)
    if layout == "keras":
        return shape
    if len(shape) == 2:
        return shape[::-1]
    if len(shape) == 4:
        is_depthwise = _is_depthwise(shape, variable)
        return wanted if is_depthwise else (shape[2], shape[3], shape[1], shape[0])
    if len(shape) == 3 and _is_signal_kernel(variable):
        return shape[::-1]
    slopes = len(shape) == 1 and len(wanted) > 1 and variable.path.endswith("/alpha")  # of PReLU, by channel
    return wanted if slopes and shape == wanted[-1:] and math.prod(wanted) == shape[0] else shape


def _is_signal_kernel(variable: Any) -> bool:
    """Whether the variable is the kernel of a Conv1D, and no slopes of a PReLU."""
    return len(variable.shape) == 3 and variable.path.endswith("/kernel")


def _is_depthwise(shape: tuple[int, ...], variable: Any) -> bool:
    """PyTorch's (channels × multiplier, 1, height, width), Keras's (height, width, channels, multiplier)."""
    wanted = tuple(variable.shape)
    return (
        len(wanted) == 4
        and shape[1] == 1
        and shape[2:] == wanted[:2]
        and shape[0] == wanted[2] * wanted[3]
        and wanted[2] > 1
    )


def _reordered(array: np.ndarray, order: Order) -> np.ndarray:
    """The last axis from PyTorch's order, (channels, pixels) in each block, to Keras's."""
    ends = np.cumsum([pixels * channels for pixels, channels in order])[:-1]
    blocks = [
        part.reshape(*part.shape[:-1], channels, pixels).swapaxes(-1, -2).reshape(part.shape)
        for part, (pixels, channels) in zip(np.split(array, ends, axis=-1), order, strict=True)
    ]
    return np.concatenate(blocks, axis=-1)
