"""The order of the elements of a flattened image, in which Keras and PyTorch differ.

Keras flattens an image as (H, W, C), PyTorch as (C, H, W). A vector's order is a tuple of blocks (pixels,
channels), one after the other. A block that both frameworks order alike has one channel, (size, 1). A tensor
of two or more axes has the order ``()``: nothing of it is flattened yet.
"""

from __future__ import annotations

import math
from typing import Any

Order = tuple[tuple[int, int], ...]


def plain(shape: tuple[int, ...]) -> Order:
    """The order of a tensor of which no axis comes from a flattened image."""
    return ((shape[0], 1),) if len(shape) == 1 else ()


def is_plain(order: Order) -> bool:
    """Whether both frameworks have this order."""
    return all(channels == 1 for _, channels in order)


def order_after(
    kind: str,
    config: dict[str, Any],
    shapes: list[tuple[int, ...]],
    orders: list[Order],
    out: tuple[int, ...],
) -> Order | None:
    """The order of a layer's output; None where PyTorch's counterpart cannot be known.

    kind, config: of the layer. shapes, orders: of its inputs. out: the shape of its output, for one image.
    """
    shape, order = shapes[0], orders[0]
    if kind in ("Flatten", "Reshape"):
        return _reshaped(shape, order, out)
    if kind == "Concatenate":
        return _joined([block for one in orders for block in one])
    if kind in ("Add", "Average", "Maximum", "Multiply", "Subtract"):
        return order if len(set(orders)) == 1 else None
    if kind == "Permute" and config["dims"] != sorted(config["dims"]) and sum(n > 1 for n in shape) > 1:
        return None
    if kind == "GroupNormalization" and config.get("groups", 32) != 1 and not is_plain(order):
        return None  # the groups would be of other elements
    if kind == "PReLU" and sum(n > 1 for n in _alpha(config, shape)) > 1:
        return None  # PyTorch has one slope, or one a channel
    return order if out == shape and kind != "Dense" else plain(out)


def _alpha(config: dict[str, Any], shape: tuple[int, ...]) -> list[int]:
    shared = config.get("shared_axes") or []
    return [1 if axis in shared else n for axis, n in enumerate(shape, 1)]


def _reshaped(shape: tuple[int, ...], order: Order, out: tuple[int, ...]) -> Order | None:
    if out == shape:
        return order
    before = order if len(shape) == 1 else _of_axes(shape)
    after = before if len(out) == 1 else _of_axes(out)
    if before is None or after is None:  # only an axis of channels that stays says how the others lie
        return () if min(len(shape), len(out)) > 1 and shape[-1] == out[-1] else None
    if len(out) == 1:
        return before
    same_channels = len(shape) > 1 and shape[-1] == out[-1]
    return () if same_channels or before == after else None


def _of_axes(shape: tuple[int, ...]) -> Order | None:
    """The order of a tensor of several axes after it is flattened; only an image's is known."""
    if sum(n > 1 for n in shape) <= 1:
        return ((math.prod(shape), 1),)
    return _joined([(shape[0] * shape[1], shape[2])]) if len(shape) == 3 else None


def _joined(blocks: list[tuple[int, int]]) -> Order:
    """Blocks in their shortest form."""
    found: list[tuple[int, int]] = []
    for pixels, channels in blocks:
        if pixels == 1 or channels == 1:
            pixels, channels = pixels * channels, 1
            if found and found[-1][1] == 1:
                pixels += found.pop()[0]
        found.append((pixels, channels))
    return tuple(found)
