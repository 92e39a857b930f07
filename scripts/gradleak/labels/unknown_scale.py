"""What the update does not say outright: the number of images, and the sign and scale of a delta."""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, pi, sqrt

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted, softmax
from gradleak.labels.methods.rank1 import common_feature

LARGEST = 256  # images that are thought of
INTEGRAL = 0.06  # images: root mean square distance from whole counts that is taken for rounding
LEAST_CLASSES = 5  # present classes below which a common divisor of all counts is likely (1 − 1/ζ(5) = 3.6 %)
CLEAR = 2.0  # how much worse a rival must fit
FLAT = 0.5  # the largest probability of a net that is as good as untrained (the mapping's own limit)


def estimate(shares: np.ndarray) -> Estimate:
    """Counts and N from class shares (D, C) that a method found without knowing N.

    N is the smallest number that makes N · shares whole and non-negative. Shares tell N up to the greatest common
    divisor of the counts only, so with few classes present there is no telling; nor where the shares are so uncertain
    that every large N fits. Both abstain, with the reason.
    """
    candidates = np.arange(1, LARGEST + 1)
    scaled = candidates[None, :, None] * shares[:, None]  # (D, N, C)
    whole = np.maximum(scaled.round(), 0)
    misfit = np.sqrt(((scaled - whole) ** 2).mean(axis=2))
    fits = (misfit < INTEGRAL) & (whole.sum(axis=2) == candidates)
    found = np.where(fits.any(axis=1), candidates[fits.argmax(axis=1)], 0)
    best = misfit[np.arange(len(shares)), np.maximum(found, 1) - 1]
    reasons = []
    for draw, number in enumerate(found):
        present = int((whole[draw, max(number, 1) - 1] > 0).sum())
        if not number:
            reasons.append(f"no number of images up to {LARGEST} makes the counts whole")
        elif present < LEAST_CLASSES:
            reasons.append(f"only {present} classes are present, whose counts may have a common divisor")
        elif number > 1 and _chance(number, best[draw], shares.shape[1]) > 0.01:
            reasons.append(f"{number} images fit, but so would chance")
        else:
            reasons.append("")
    numbers = np.where(found > 0, found, 1)
    return counted(
        shares * numbers[:, None],
        numbers,
        abstain=np.array([bool(r) for r in reasons]),
        reasons=tuple(reasons),
    )


def _chance(number: int, misfit: float, classes: int) -> float:
    """Upper bound on the chance that shares at random fit some N up to ``number`` as well: a ball's share of the cube.

    The counts of C − 1 classes are free; each is off by at most half an image.
    """
    free = classes - 1
    radius = max(misfit, 1e-3) * sqrt(classes)
    return number * min(1.0, pi ** (free / 2) / gamma(free / 2 + 1) * radius**free)


@dataclass(frozen=True)
class Scale:
    """factor: delta per unit of gradient, signed, (D,). misfit: images, (D,). abstain: bool (D,), with reasons."""

    factor: np.ndarray
    misfit: np.ndarray
    abstain: np.ndarray
    reasons: tuple[str, ...]


def find_scale(evidence: Evidence) -> Scale:
    """Sign and scale of deltas that were handed over in the place of gradients; N must be known.

    The common feature of rank-1 least squares, and with it p̄, is the same for any factor. An absent class has the
    delta factor · p̄_c, and no class has more in that direction. So the factor is the extreme ratio delta_c / p̄_c, on
    one side or the other, and the side is the one on which the counts N (p̄ − delta / factor) come out whole. Where no
    class is absent neither does, and where both do there is no telling. Nor on a trained net, where one feature cannot
    stand for all and p̄ of an absent class is no more than a guess.
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
        "the net is trained: the common feature is classified with confidence"
        if peak > FLAT
        else "no class is surely absent: neither sign makes the counts whole"
        if own > INTEGRAL
        else "both signs make the counts nearly whole"
        if other < CLEAR * max(own, INTEGRAL / 2)
        else ""
        for own, other, peak in zip(misfit, rival, mean.max(axis=1), strict=True)
    )
    return Scale(factor, misfit, np.array([bool(r) for r in reasons]), reasons)
