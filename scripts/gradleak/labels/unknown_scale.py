"""Sign and scale of a shared delta for known N: absent classes give the scale, whole counts the sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.labels.evidence import Evidence, softmax
from gradleak.labels.methods.rank1 import common_feature
from gradleak.labels.unknown_samples import MAX_ROUNDING_ERROR

CLEAR = 2.0  # factor by which the other sign must fit worse
FLAT = 0.5  # largest mean probability of a class under an untrained model; the mapping has the same limit


@dataclass(frozen=True)
class Scale:
    """factor: delta per unit of gradient, signed, (D,). misfit: images, (D,). abstain: bool (D,), with
    reasons.
    """

    factor: np.ndarray
    misfit: np.ndarray
    abstain: np.ndarray
    reasons: tuple[str, ...]


def find_scale(evidence: Evidence) -> Scale:
    """Sign and scale of deltas that stand in the place of gradients; N must be known.

    The common feature of rank-1 least squares, and with it the mean softmax p̄, is the same for any factor.
    An absent class has delta_c = factor · p̄_c, and no class has more in that direction. So the factor is the
    extreme ratio delta_c / p̄_c on one side or the other. The side is the one on which the counts N (p̄ −
    delta / factor) are whole. It cannot be decided where no class is absent or where both sides fit. It
    cannot be decided on a trained model either, where one feature does not represent all images.
    """
    bias = evidence.grad_bias.astype(float)
    unit = np.maximum(np.linalg.norm(bias, axis=1), 1e-300)[:, None]
    feature = common_feature(evidence, np.ones_like(bias))
    mean = softmax(evidence.logits(feature))
    ratios = bias / unit / mean
    sides = []
    for extreme in (ratios.max(axis=1), ratios.min(axis=1)):
        raw = evidence.samples * mean * (1 - ratios / extreme[:, None])
        sides.append((extreme * unit[:, 0], np.sqrt(((raw - raw.round()) ** 2).mean(axis=1))))
    (high, high_misfit), (low, low_misfit) = sides
    first = high_misfit <= low_misfit
    factor, misfit = np.where(first, high, low), np.minimum(high_misfit, low_misfit)
    rival = np.maximum(high_misfit, low_misfit)
    reasons = tuple(
        "the model is trained: the common feature is classified with confidence"
        if peak > FLAT
        else "no class is surely absent: neither sign makes the counts whole"
        if own > MAX_ROUNDING_ERROR
        else "both signs make the counts nearly whole"
        if other < CLEAR * max(own, MAX_ROUNDING_ERROR / 2)
        else ""
        for own, other, peak in zip(misfit, rival, mean.max(axis=1), strict=True)
    )
    return Scale(factor, misfit, np.array([bool(r) for r in reasons]), reasons)
