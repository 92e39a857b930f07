"""95 % percentile bootstrap intervals of means.

Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3, DOI 10.1201/9780429246593.

Draws, the attacked clients, are resampled: two seeds on one draw are no independent evidence.
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
BOUNDS = [2.5, 97.5]  # percentiles of the resampled means


def mean(
    values: np.ndarray, groups: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """(mean, low, high) of ``values`` (n,) that belong to the draws ``groups`` (n,).

    The mean is that of the groups' means.     Groups are resampled. Values that are not finite are left out.
    Without values all three are NaN; with one group low and high are NaN.
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    keep = np.isfinite(values)
    values, groups = values[keep], groups[keep]
    if not len(values):
        return (np.nan,) * 3
    means = np.array([values[groups == group].mean() for group in np.unique(groups)])
    if len(means) < 2:
        return float(means.mean()), np.nan, np.nan
    sampled = means[np.random.default_rng(seed).integers(0, len(means), (resamples, len(means)))].mean(axis=1)
    low, high = np.percentile(sampled, BOUNDS)
    return float(means.mean()), float(low), float(high)


def difference(base: np.ndarray, other: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """(mean of ``other`` − mean of ``base``, low, high) of two independent samples (n,) and (m,).

    Both are resampled. Where one has a single value low and high are NaN.
    """
    if min(len(base), len(other)) < 2:
        return float(other.mean() - base.mean()), np.nan, np.nan
    rng = np.random.default_rng(0)
    sampled = [
        part[rng.integers(0, len(part), (resamples, len(part)))].mean(axis=1) for part in (base, other)
    ]
    low, high = np.percentile(sampled[1] - sampled[0], BOUNDS)
    return float(other.mean() - base.mean()), float(low), float(high)
