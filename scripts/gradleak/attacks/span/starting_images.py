"""Where a search begins: public images, shifted by a pixel or two, whose features lie nearest to the span.

Without public images, noise stands in their place.
"""

from __future__ import annotations

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, features_of
from gradleak.attacks.span.subspace import Subspace
from gradleak.images import noise_images


def of_kind(public: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images [P, H, W, C] that a search starts from and measures its layer on: ``public``, or noise.

    The layer's kind (nonlinear, before a ReLU) is the same for all images. Certificates use none. shape: (H,
    W, C).
    """
    return public if len(public) else noise_images(shape, thresholds.NOISE_IMAGES, seed=0)


class Pool:
    """Public images and shifted copies of them, with their features under one layer.

    images: float32 [P · copies, H, W, C]; the unshifted ones first. features: [P · copies, I].
    """

    def __init__(self, layer: DenseLayer, public: np.ndarray, copies: int):
        rng = np.random.default_rng(0)
        self.images = np.concatenate([public, *(_shifted(public, rng) for _ in range(copies - 1))])
        self.features = features_of(layer, self.images)

    def nearest(
        self, span: Subspace, avoid: np.ndarray | None, count: int, used: frozenset[int]
    ) -> list[int]:
        """The ``count`` images of least ρ that are not ``used``, by index. Fewer where the pool ends."""
        order = np.argsort(span.residual(self.features, avoid), kind="stable")
        return [int(index) for index in order if int(index) not in used][:count]

    def alike(self, vectors: np.ndarray, count: int, skip: int = 0) -> np.ndarray:
        """For each feature [B, I] the ``count`` images of the largest cosine with it, but for the first
        ``skip``: [B, count, H, W, C]."""
        lengths = np.linalg.norm(self.features, axis=1)
        order = np.argsort(-(vectors @ self.features.T / lengths), axis=1, kind="stable")
        columns = (skip + np.arange(count)) % len(self.images)
        return self.images[order[:, columns]]


def _shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to SHIFT pixels each way, black at the edges that come in."""
    _, height, width, _ = images.shape
    shift = thresholds.SHIFT
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    places = rng.integers(0, 2 * shift + 1, (len(images), 2))
    return np.stack(
        [
            image[top : top + height, left : left + width]
            for image, (top, left) in zip(padded, places, strict=True)
        ]
    )
