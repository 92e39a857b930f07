"""Sliding windows over images: patches and max pooling whose second derivatives are cheap.

Matching gradients differentiates every layer twice, and there TensorFlow's own windowed operations
spend most of a step: the derivatives of max pooling search for the maximum anew each time, and patch
extraction has a sparse matrix for a derivative. Both are linear once their indices are known, so each
is written here as a pair of linear maps that are one another's derivative, to any order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import tensorflow as tf

# Up to here, a pixel holds too few numbers to be worth a move of its own.
FEW_CHANNELS = 4

_Linear: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


def _adjoint(forward: _Linear, backward: _Linear) -> _Linear:
    """``forward``, a linear map, with ``backward``, its adjoint, as its derivative; and so on in turn."""

    @tf.custom_gradient
    def apply(x: tf.Tensor) -> tuple[tf.Tensor, _Linear]:
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
        rows, columns = self._starts
        return len(rows), len(columns)

    def patches(self, images: tf.Tensor) -> tf.Tensor:
        """What each window sees, zeros beyond the edge: [B, H, W, C] -> [B, H', W', kh kw C]."""
        if self._is_identity:
            return images
        batch, channels = images.shape[0], images.shape[3]

        def unfold(images: tf.Tensor) -> tf.Tensor:
            pixels = tf.reshape(images, [batch, -1, channels])
            return tf.reshape(
                _gathered(pixels, self._seen), [batch, *self.positions, self._seen.shape[1] * channels]
            )

        def fold(patches: tf.Tensor) -> tf.Tensor:
            entries = tf.reshape(patches, [batch, -1, channels])
            return tf.reshape(_gathered(entries, self._seen_by, total=True), [batch, *self.image, channels])

        return _adjoint(unfold, fold)(images)

    @property
    def _is_identity(self) -> bool:
        return self.kernel == (1, 1) and self.positions == self.image

    @cached_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        """First row of every window and first column of every window; negative where it starts in the
        padding.
        """
        starts = []
        for size, kernel, stride, dilation in zip(self.image, self.kernel, self.strides, self.dilation):
            extent = (kernel - 1) * dilation + 1
            count = -(-size // stride) if self.padding == "same" else (size - extent) // stride + 1
            # TensorFlow's "SAME" puts an odd zero last.
            before = max((count - 1) * stride + extent - size, 0) // 2 if self.padding == "same" else 0
            starts.append(np.arange(count) * stride - before)
        rows, columns = starts
        return rows, columns

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
        """Entries of windows over each pixel, [H W, most]; rows are filled up with H' W' kh kw, no entry's
        number.
        """
        pixels, entries = self._seen.ravel(), self._seen.size
        order = np.argsort(pixels, kind="stable")
        order = order[pixels[order] < np.prod(self.image)]
        owner = pixels[order]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        table = np.full([np.prod(self.image), rank.max() + 1], entries)
        table[owner, rank] = order
        return table


def _gathered(rows: tf.Tensor, table: np.ndarray, total: bool = False) -> tf.Tensor:
    """Rows of [B, R, C] by number, [B, *table.shape, C], or their ``total`` along the table's second axis.

    Number R stands for a row of zeros.
    """
    few = rows.shape[2] <= FEW_CHANNELS
    axis = 0 if few else 1
    if few:  # the batch innermost, so that one move takes a pixel of every image
        rows = tf.transpose(rows, [1, 0, 2])
    if table.max() == rows.shape[axis]:
        rows = tf.pad(rows, [(0, 1), (0, 0), (0, 0)] if few else [(0, 0), (0, 1), (0, 0)])
    found = tf.gather(rows, tf.constant(table, tf.int32), axis=axis)
    if total:
        found = tf.reduce_sum(found, axis=axis + 1)
    if not few:
        return found
    rank = len(found.shape)
    return tf.transpose(found, [rank - 2, *range(rank - 2), rank - 1])


def crop(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The top left of [B, H, W, C]. Not by indexing, whose derivative is slow even where nothing is cut
    off.
    """
    if tuple(images.shape[1:3]) == (height, width):
        return images
    return tf.slice(images, [0, 0, 0, 0], [-1, height, width, -1])


def max_pool(images: tf.Tensor, size: int) -> tf.Tensor:
    """Maximum over non-overlapping squares, [B, H, W, C] -> [B, H // size, W // size, C].

    Among equals the first in reading order counts as the maximum, as in TensorFlow's own derivative.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    images = crop(images, rows * size, columns * size)

    def split(images: tf.Tensor) -> tf.Tensor:
        """[size², B, rows, columns, C]: the pixels of a window one after the other."""
        windows = tf.reshape(images, [batch, rows, size, columns, size, channels])
        return tf.reshape(
            tf.transpose(windows, [2, 4, 0, 1, 3, 5]), [size * size, batch, rows, columns, channels]
        )

    def join(pixels: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(pixels, [size, size, batch, rows, columns, channels])
        return tf.reshape(
            tf.transpose(pixels, [2, 3, 0, 4, 1, 5]), [batch, rows * size, columns * size, channels]
        )

    maximum, chosen = _first_maximum(split(tf.stop_gradient(images)))

    def gather(images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(split(images) * chosen, axis=0)

    def scatter(maxima: tf.Tensor) -> tf.Tensor:
        return join(maxima * chosen)

    @tf.custom_gradient
    def pool(images: tf.Tensor) -> tuple[tf.Tensor, _Linear]:  # as ``gather``, whose outcome here is known
        return maximum, _adjoint(scatter, gather)

    return pool(images)


def _first_maximum(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Maximum along axis 0, and 1 where it stands first, else 0."""
    maximum = tf.reduce_max(pixels, axis=0)
    first, found = [], tf.zeros_like(maximum, tf.bool)
    for pixel in tf.unstack(pixels):
        first.append((pixel == maximum) & ~found)
        found |= first[-1]
    return maximum, tf.cast(tf.stack(first), pixels.dtype)
