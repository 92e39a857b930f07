"""Images as arrays: float32 in [0, 1], NHWC, and how far two of them are apart."""

from __future__ import annotations

import numpy as np

PSNR_CEILING = 100.0  # an exact copy would be infinite; float32 pixels are exact to about this


def to_float(x: np.ndarray) -> np.ndarray:
    """uint8 0..255 → float32 [0, 1]; floats are in [0, 1] already."""
    return x.astype(np.float32) if x.dtype.kind == "f" else x.astype(np.float32) / np.float32(255)


def psnr(mse: np.ndarray) -> np.ndarray:
    """10 log10(1 / MSE) in dB, at most PSNR_CEILING."""
    return -10 * np.log10(np.maximum(mse, 10 ** (-PSNR_CEILING / 10)))
