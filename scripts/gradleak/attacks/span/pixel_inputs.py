"""Dense layers each of whose inputs is an affine function of one pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, features_of


@dataclass(frozen=True)
class PixelInputs:
    """Feature i is offset_i + slope_i · pixel i. offset, slope: [I] without the entry of the bias. shape: (H,
    W, C) of an image."""

    offset: np.ndarray
    slope: np.ndarray
    shape: tuple[int, ...]

    def images(self, features: np.ndarray) -> np.ndarray:
        """The images [B, H, W, C] of ``features`` [B, I + 1]; pixels may lie outside [0, 1]."""
        return ((features[:, :-1] - self.offset) / self.slope).reshape(-1, *self.shape)

    def combinations(self, features: np.ndarray) -> np.ndarray:
        """Images [R, H, W, C] of linear combinations [R, I + 1] of features."""
        return ((features[:, :-1] - features[:, -1:] * self.offset) / self.slope).reshape(-1, *self.shape)


def for_two_sided_search(layer: DenseLayer, images: np.ndarray) -> PixelInputs | None:
    """How ``layer`` receives the pixels of images like ``images`` [B, H, W, C]; None where the two-sided
    search does not apply.

    It needs a ReLU behind the layer. Of two classes all δ of one pattern are parallel, so that the mean of
    several members passes its tests.
    """
    few = images[: thresholds.LAYER_IMAGES]
    return pixel_inputs(layer, few) if layer.classes != 2 and layer.feeds_relu(few) else None


def pixel_inputs(layer: DenseLayer, images: np.ndarray) -> PixelInputs | None:
    """How ``layer`` receives the pixels of images like ``images`` [B, H, W, C]; None where it does not."""
    shape = images.shape[1:]
    ends = np.stack([np.zeros(shape), np.ones(shape)])
    if layer.bias is None or len(layer.weights) != ends[0].size:
        return None
    first, last = features_of(layer, ends)[:, :-1]
    slope = last - first
    if not slope.all():
        return None
    few = images[: thresholds.LAYER_IMAGES]
    expected = first + slope * few.reshape(len(few), -1)
    if not np.allclose(features_of(layer, few)[:, :-1], expected, rtol=0, atol=thresholds.PIXEL_ROUNDING):
        return None
    return PixelInputs(first.astype(np.float64), slope.astype(np.float64), shape)
