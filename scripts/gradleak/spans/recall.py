"""Whether the host layer is given enough to tell an image: public ones, found again from their own features."""

from __future__ import annotations

import numpy as np

from gradleak.metrics import psnr
from gradleak.spans import search
from gradleak.spans.host import Host
from gradleak.spans.starts import features

ENOUGH = 20.0  # dB
_IMAGES, _STARTS, _STEPS = 16, 4, 150


def recalled(host: Host, public: np.ndarray, seen: np.ndarray) -> float:
    """The median PSNR in dB, over pixels ``seen`` (bool [H, W, C]), at which images ``public`` [P, H, W, C] (P ≥ 2) come back from their features.

    Certificates speak of features. Where a layer sees but a few averages of an image, quite different images share them, and a
    feature that is exactly a member's shows nobody. Sixteen images are tried, each from the others of the likest features.
    """
    tried = np.unique(np.linspace(0, len(public) - 1, _IMAGES).astype(int))
    values = features(host, public)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)
    cosines = unit[tried] @ unit.T
    cosines[np.arange(len(tried)), tried] = -np.inf
    others = np.argsort(-cosines, axis=1)[:, : min(_STARTS, len(public) - 1)]
    found = search.images_of(host, values[tried], public[others], _STEPS)
    return float(np.median(psnr(np.square(found - public[tried])[:, seen].mean(axis=1))))
