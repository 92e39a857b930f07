"""Which dense layer of a classifier is searched: one that tells images apart; and why there is none."""

from __future__ import annotations

import keras
import numpy as np

from gradleak.attacks import receptive_field
from gradleak.attacks.span import feature_inversion
from gradleak.attacks.span.dense_layer import Host, hosts
from gradleak.attacks.span.starting_images import features
from gradleak.images import psnr

_ENOUGH = 20.0  # dB
_ZEROS = 0.1  # of all inputs: with fewer, a sparse vector in the span is not a member
_FEW = 64  # public images that show what kind of layer it is
_IMAGES, _STARTS, _STEPS = 16, 4, 150


class NoHost(ValueError):
    """No layer of the model can be searched; the message says why."""


def chosen(model: keras.Model, public: np.ndarray, one_step: bool = True) -> tuple[Host, Host]:
    """The host to search for images like ``public`` [P, H, W, C] (P ≥ 2), in float32 and in float64.

    The widest layer behind a nonlinear one that tells images, whose span holds no mixtures of members. Where there is none, the widest in
    front: mixtures lie in its span, too, but are no rays of its cone (``spans.cone``), and no label's δ is in the row space. one_step: after
    several neither is known of members. Raises NoHost, gradients.trace.Untraceable.
    """
    pairs = list(zip(hosts(model), hosts(model, "float64"), strict=True))
    pairs.sort(key=lambda pair: not pair[0].bends(public[:_FEW]))  # of each kind still the widest first
    seen, refused = ~receptive_field.mask(model), []
    for coarse, fine in pairs:
        objection = _objection(coarse, public, seen, one_step)
        if not objection:
            return coarse, fine
        refused.append(f"{coarse.name} is given {objection}")
    raise NoHost("; ".join(refused) or "no dense layer that all data passes through: no span to search")


def _objection(host: Host, public: np.ndarray, seen: np.ndarray, one_step: bool) -> str:
    """What speaks against ``host``, if anything."""
    if not host.bends(public[:_FEW]):
        values = features(host, public[:_FEW])
        if host.bias is None or (values < 0).any() or (values == 0).mean() < _ZEROS:
            return "what is linear in the image, or nearly so, and not nonnegative and sparse: mixtures of images lie in its span like images"
        if not one_step:
            return "what is linear in the image: after several local steps nothing tells mixtures of images from images"
    found = recalled(host, public, seen)
    if found < _ENOUGH:
        return f"too little to tell images apart: public ones, found again by it alone, are {found:.0f} dB like themselves in the median"
    return ""


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
    found = feature_inversion.images_of(host, values[tried], public[others], _STEPS)
    return float(np.median(psnr(np.square(found - public[tried])[:, seen].mean(axis=1))))
