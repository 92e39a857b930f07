"""Counts of columns and biases of the last layer by which absent classes show."""

from __future__ import annotations

import numpy as np

BEYOND = 5.0  # standard deviations: white noise exceeds it in hardly one of a few thousand entries


def absent_columns(kernel: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Votes [D]: columns of the last kernel without a positive entry, minus those without a negative one.

    With non-negative features, the gradient of an absent class's column is p̄ h ≥ 0, so after − before has no
    positive entry there. Few classes are present, so most columns of one sign are of absent classes. noise:
    standard deviation of white noise on the delta; entries that may be noise alone have no sign.
    """
    down, up = one_signed(kernel, BEYOND * noise)
    return down - up


def one_signed(kernel: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """[D] each: columns with an entry below −least and none above it, and the opposite. kernel: [D, d, C]."""
    positive, negative = (kernel > least).any(axis=1), (kernel < -least).any(axis=1)
    return (negative & ~positive).sum(axis=1), (positive & ~negative).sum(axis=1)


def plateau(bias: np.ndarray, softmax: np.ndarray) -> np.ndarray:
    """Votes [D]: classes with the lowest Δb_c / p̄_c, minus those with the highest.

    The bias of an absent class changes by −scale · p̄_c. So all absent classes have the same ratio, and no
    class has a lower one. For features that are never zero, where every column has one sign. bias: [D, C].
    softmax: mean of public images [C].
    """
    lowest, highest = ends(bias, softmax)
    return lowest - highest


def ends(bias: np.ndarray, softmax: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[D] each: the classes with the lowest Δb_c / p̄_c, and those with the highest. As of ``plateau``."""
    ratio = bias / np.maximum(softmax, 1e-6)
    low, high = ratio.min(axis=1, keepdims=True), ratio.max(axis=1, keepdims=True)
    place = (ratio - low) / np.maximum(high - low, 1e-30)
    return (place < 0.1).sum(axis=1), (place > 0.9).sum(axis=1)
