"""Where a search begins: the public images, moved by a pixel or two, whose features lie nearest to the span."""

from __future__ import annotations

import numpy as np

from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.subspace import Subspace

_SHIFT = 2  # pixels
_CHUNK = 500


class Pool:
    """Public images and shifted copies of them, with their features under one host.

    images: float32 [P · copies, H, W, C]; the unshifted ones first.
    """

    def __init__(self, host: Host, public: np.ndarray, copies: int):
        rng = np.random.default_rng(0)
        self.images = np.concatenate([public, *(_shifted(public, rng) for _ in range(copies - 1))])
        self.features = features(host, self.images)

    def nearest(self, span: Subspace, avoid: np.ndarray | None, count: int, used: set[int]) -> np.ndarray:
        """``count`` images of least ρ among those not ``used`` yet; they are then. Fewer where the pool ends."""
        order = np.argsort(span.residual(self.features, avoid), kind="stable")
        chosen = [int(index) for index in order if int(index) not in used][:count]
        used.update(chosen)
        return self.images[chosen]

    def alike(self, vectors: np.ndarray, count: int, skip: int = 0) -> np.ndarray:
        """For each feature [B, I] the ``count`` images whose own have the largest cosine with it, but for the first
        ``skip``: [B, count, H, W, C]."""
        lengths = np.linalg.norm(self.features, axis=1)
        order = np.argsort(-(vectors @ self.features.T / lengths), axis=1, kind="stable")
        columns = (skip + np.arange(count)) % len(self.images)
        return self.images[order[:, columns]]


def features(host: Host, images: np.ndarray) -> np.ndarray:
    """``host.features`` in chunks: [B, H, W, C] → [B, I]."""
    parts = [images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK)]
    return np.concatenate([host.features(part.astype(host.dtype)).numpy() for part in parts])


def slopes(host: Host, image: np.ndarray, value: np.ndarray, pixels: np.ndarray, step: float) -> np.ndarray:
    """∂f/∂x of ``image`` [H, W, C], whose feature is ``value`` [I], for ``pixels`` (int [P], of the flat image): [P, I].

    By differences of size ``step`` that stay within [0, 1].
    """
    moved = np.repeat(image.reshape(1, -1), len(pixels), axis=0)
    steps = np.where(image.reshape(-1)[pixels] > 0.5, -step, step)
    moved[np.arange(len(pixels)), pixels] += steps
    return (features(host, moved.reshape(-1, *image.shape)) - value) / steps[:, None]


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to _SHIFT pixels each way, black where nothing is left."""
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)))
    places = rng.integers(0, 2 * _SHIFT + 1, (len(images), 2))
    return np.stack(
        [
            image[top : top + height, left : left + width]
            for image, (top, left) in zip(padded, places, strict=True)
        ]
    )
