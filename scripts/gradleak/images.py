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


def as_picture(images: np.ndarray) -> np.ndarray:
    """Images [..., H, W, C] as they are shown, [..., H', W, 1 or 3]: other channels below one another."""
    *before, height, width, channels = images.shape
    if channels in (1, 3):
        return images
    return np.moveaxis(images, -1, -3).reshape(*before, channels * height, width, 1)


def noise_images(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """float32 [count, H, W, C] in [0, 1]: images of no kind, where there are no public ones.

    In turn noise blurred over a 14th and over a 7th of the larger side, and the first blur with all below its
    median cut to black, so that there are edges and empty areas. Noise that is not blurred has more detail
    than any photograph or drawing. shape: (H, W, C). They follow from ``seed`` alone.
    """
    from scipy.ndimage import gaussian_filter  # takes time to import, and only these images need it

    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (count, *shape))
    for index, image in enumerate(images):
        kind = index % 3
        sigma = max(shape[1], shape[0]) / (7 if kind == 1 else 14)
        smooth = gaussian_filter(image, (sigma, sigma, 0), mode="wrap")
        smooth -= np.median(smooth) if kind == 2 else smooth.min()
        smooth = np.maximum(smooth, 0)
        images[index] = smooth / max(smooth.max(), 1e-12)
    return images.astype(np.float32)
