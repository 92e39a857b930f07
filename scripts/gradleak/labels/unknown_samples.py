"""The number of images N behind an update, from class shares that were found without it."""

from __future__ import annotations

from math import gamma, pi, sqrt

import numpy as np

from gradleak.labels.evidence import Estimate, counted

LARGEST = 256  # largest N that is considered
MAX_ROUNDING_ERROR = 0.06  # images: root mean square distance from whole counts that passes as rounding
LEAST_CLASSES = 5  # present classes below which a common divisor of all counts is likely (1 − 1/ζ(5) = 3.6 %)


def estimate(shares: np.ndarray) -> Estimate:
    """Counts and N from class shares (D, C).

    N is the smallest number that makes N · shares whole and non-negative. The shares determine N only up to
    the greatest common divisor of the counts, so the estimate abstains, with the reason, where few classes
    are present. It also abstains where the shares are so uncertain that every large N fits.
    """
    candidates = np.arange(1, LARGEST + 1)
    scaled = candidates[None, :, None] * shares[:, None]  # (D, N, C)
    whole = np.maximum(scaled.round(), 0)
    misfit = np.sqrt(((scaled - whole) ** 2).mean(axis=2))
    fits = (misfit < MAX_ROUNDING_ERROR) & (whole.sum(axis=2) == candidates)
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
            reasons.append(f"{number} images fit, but the fit is not significant")
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
    """Upper bound on the probability that random shares fit some N up to ``number`` as well.

    The counts of C − 1 classes are free, and their rounding errors are uniform in a unit cube. The bound is
    the volume of the ball of radius ``misfit`` √C over the volume of the unit cube, for each N.
    """
    free = classes - 1
    radius = max(misfit, 1e-3) * sqrt(classes)
    return number * min(1.0, pi ** (free / 2) / gamma(free / 2 + 1) * radius**free)
