"""Sliding windows over images: patches and max pooling whose second derivatives are cheap.

Matching gradients differentiates every layer twice, and there TensorFlow's own windowed operations
spend most of a step: the derivatives of max pooling search for the maximum anew each time, and patch
extraction has a sparse matrix for a derivative. Both are linear once their indices are known, so each
is written here as a pair of linear maps that are one another's derivative, to any order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import tensorflow as tf

# Up to here, a convolution with the identity beats gathering rows of so few numbers.
FEW_CHANNELS = 4


def _adjoint(forward: Callable, backward: Callable) -> Callable:
    """``forward``, a linear map, with ``backward``, its adjoint, as its derivative; and so on in turn."""

    @tf.custom_gradient
    def apply(x):
        return forward(x), _adjoint(backward, forward)

    return apply


@dataclass(frozen=True)
class Windows:
    """Where a kernel lands on an image. Pairs are (vertical, horizontal); ``padding`` is valid or same."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "valid"

    @cached_property
    def positions(self) -> tuple[int, int]:
        """How many windows there are."""
        return tuple(len(starts) for starts in self._starts)

    def patches(self, images) -> tf.Tensor:
        """What each window sees, zeros beyond the edge: [B, H, W, C] -> [B, H', W', kh kw C]."""
        batch, channels = images.shape[0], images.shape[3]
        size = channels * self._seen.shape[1]
        if self._is_identity:
            return images

        def unfold(images):
            if channels <= FEW_CHANNELS:
                return self._convolved_with_identity(images)
            pixels = tf.reshape(images, [batch, -1, channels])
            return tf.reshape(_gathered(pixels, self._seen), [batch, *self.positions, size])

        def fold(patches):
            entries = tf.reshape(patches, [batch, -1, channels])
            return tf.reshape(
                tf.reduce_sum(_gathered(entries, self._seen_by), axis=2), [batch, *self.image, channels]
            )

        return _adjoint(unfold, fold)(images)

    def _convolved_with_identity(self, images):
        channels = images.shape[3]
        size = channels * self._seen.shape[1]
        identity = tf.reshape(tf.eye(size, dtype=images.dtype), [*self.kernel, channels, size])
        return tf.nn.convolution(
            images, identity, self.strides, self.padding.upper(), dilations=self.dilation
        )

    @property
    def _is_identity(self) -> bool:
        return self.kernel == (1, 1) and self.positions == self.image

    @cached_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        """First row of every window and first column of every window; negative where it starts in the padding."""
        starts = []
        for size, kernel, stride, dilation in zip(self.image, self.kernel, self.strides, self.dilation):
            extent = (kernel - 1) * dilation + 1
            count = -(-size // stride) if self.padding == "same" else (size - extent) // stride + 1
            # TensorFlow's "SAME" puts an odd zero last.
            before = max((count - 1) * stride + extent - size, 0) // 2 if self.padding == "same" else 0
            starts.append(np.arange(count) * stride - before)
        return tuple(starts)

    @cached_property
    def _seen(self) -> np.ndarray:
        """Pixel under each entry of each window, [H' W', kh kw]; H W for an entry beyond the edge."""
        rows, columns = (
            start[:, None] + np.arange(kernel) * dilation
            for start, kernel, dilation in zip(self._starts, self.kernel, self.dilation)
        )
        height, width = self.image
        y, x = np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :])
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return np.where(inside, y * width + x, height * width).reshape(-1, self.kernel[0] * self.kernel[1])

    @cached_property
    def _seen_by(self) -> np.ndarray:
        """Entries of windows over each pixel, [H W, most]; rows are filled up with H' W' kh kw, no entry's number."""
        pixels, entries = self._seen.ravel(), self._seen.size
        order = np.argsort(pixels, kind="stable")
        order = order[pixels[order] < np.prod(self.image)]
        owner = pixels[order]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        table = np.full([np.prod(self.image), rank.max() + 1], entries)
        table[owner, rank] = order
        return table


def _gathered(rows, table: np.ndarray) -> tf.Tensor:
    """Rows of [B, R, C] by number, [B, *table.shape, C]; number R stands for a row of zeros."""
    if table.max() == rows.shape[1]:
        rows = tf.pad(rows, [(0, 0), (0, 1), (0, 0)])
    return tf.gather(rows, tf.constant(table, tf.int32), axis=1)


def max_pool(images, size: int) -> tf.Tensor:
    """Maximum over non-overlapping squares, [B, H, W, C] -> [B, H // size, W // size, C].

    Among equals the first in reading order counts as the maximum, as in TensorFlow's own derivative.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size

    def stacked(images):
        """[B, rows, columns, size² C]: the pixels of a window one after the other."""
        return tf.nn.space_to_depth(images[:, : rows * size, : columns * size], size)

    def split(images):
        return tf.reshape(stacked(images), [batch, rows, columns, size * size, channels])

    def join(cells):
        cells = tf.reshape(cells, [batch, rows, columns, size * size * channels])
        images = tf.nn.depth_to_space(cells, size)
        return tf.pad(images, [(0, 0), (0, height - rows * size), (0, width - columns * size), (0, 0)])

    def first_maximum(images):
        """1 where ``split(images)`` has its first maximum along axis 3, else 0."""
        pixels = tf.split(stacked(images), size * size, axis=3)
        maximum = reduce(tf.maximum, pixels)
        first, taken = [], tf.zeros_like(maximum, tf.bool)
        for pixel in pixels:
            first.append((pixel == maximum) & ~taken)
            taken |= first[-1]
        chosen = tf.cast(tf.concat(first, axis=3), images.dtype)
        return tf.reshape(chosen, [batch, rows, columns, size * size, channels])

    chosen = first_maximum(tf.stop_gradient(images))
    gather = _adjoint(
        lambda images: tf.reduce_sum(split(images) * chosen, axis=3),
        lambda maxima: join(maxima[:, :, :, None] * chosen),
    )
    return gather(images)
