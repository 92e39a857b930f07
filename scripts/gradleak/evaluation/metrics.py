"""Image and label metrics, and the one-to-one assignment that they are read after.

Images are float32 (…, H, W, C) in [0, 1]; the data range is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity

from gradleak.images import psnr


def pairwise_mse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared error of every image of a with every image of b: (A, B), float64.

    By the expansion ‖a‖² + ‖b‖² − 2 a·b in float64, exact to about 1e-15: far below PSNR_CEILING.
    """
    # Not −1: of no images at all it would not be known.
    a, b = (i.reshape(len(i), np.prod(i.shape[1:], dtype=int)).astype(np.float64, copy=False) for i in (a, b))
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    return np.maximum(squared, 0) / a.shape[1]


def assign(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one assignment of reconstructions to true images with the highest total PSNR.

    Returns (index into found, index into truth), min(M, N) pairs sorted by the true image. Each reconstruction
    counts once: a single good image cannot stand for many.
    """
    if not len(found) or not len(truth):
        return np.zeros(0, int), np.zeros(0, int)
    rows, columns = linear_sum_assignment(-psnr(pairwise_mse(found, truth)))
    order = np.argsort(columns)
    return rows[order], columns[order]


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two images (Wang et al. 2004), 7×7 window (smaller on smaller images), data range 1."""
    side = min(7, *a.shape[:2])
    window = side - (side + 1) % 2  # odd
    return float(structural_similarity(a, b, data_range=1.0, channel_axis=-1, win_size=window))


def image_metrics(found: np.ndarray, truth: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of one trial and, per pair, what the figures need.

    found: (M, H, W, C), what the attack accepted; truth: (N, H, W, C). Means are over the matched pairs; the
    shares are over all N true images, so what was not found counts as not recovered.
    """
    rows, columns = assign(found, truth)
    pairs = {"found": rows, "truth": columns}
    if not len(rows):
        return {"matched": 0, "share_20db": 0.0, "share_30db": 0.0}, pairs | {"psnr": np.zeros(0)}
    mse = np.mean((found[rows].astype(np.float64) - truth[columns]) ** 2, axis=(1, 2, 3))
    values = psnr(mse)
    return {
        "matched": len(rows),
        "psnr": float(values.mean()),
        "psnr_median": float(np.median(values)),
        "psnr_best": float(values.max()),
        "ssim": float(np.mean([ssim(found[i], truth[j]) for i, j in zip(rows, columns, strict=True)])),
        "mse": float(mse.mean()),
        "share_20db": float((values >= 20).sum() / len(truth)),
        "share_30db": float((values >= 30).sum() / len(truth)),
    }, pairs | {"psnr": values}


def certificate_metrics(
    images: np.ndarray,
    accepted: np.ndarray,
    residual: np.ndarray,
    expected: np.ndarray,
    samples: int,
    truth: np.ndarray,
) -> dict[str, float]:
    """How far certificates can be trusted. images (K, H, W, C) that were looked at, accepted, residual and expected PSNR (K,).

    As ``certified``, and false_positives: accepted images that are more than 20 dB from every true image; samples_exact: whether N
    is right; residual_rank: Spearman correlation of residual and PSNR; expected_rank: of expected and true PSNR, over accepted ones.
    """
    out = certified(accepted, expected, samples) | {"false_positives": 0}
    if samples > 0:
        out["samples_exact"] = float(samples == len(truth))
    if len(images):
        nearest = psnr(pairwise_mse(images, truth).min(axis=1))
        out["false_positives"] = int((accepted & (nearest < 20)).sum())
        ranks = _rank(residual, nearest), _rank(expected[accepted], nearest[accepted])
        out |= {
            n: rank
            for n, rank in zip(("residual_rank", "expected_rank"), ranks, strict=True)
            if rank is not None
        }
    return out


def certified(accepted: np.ndarray, expected: np.ndarray, samples: int) -> dict[str, float]:
    """What certificates say without any truth. found: accepted images; expected_psnr: the mean of theirs; samples_estimated: N."""
    out: dict[str, float] = {"certified": int(accepted.sum())}
    if accepted.any():
        out["expected_psnr"] = float(expected[accepted].mean())
    if samples > 0:
        out["samples_estimated"] = samples
    return out


def _rank(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's correlation; None where there is none."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    from scipy.stats import spearmanr  # half a second of imports, for span inversion alone

    return float(spearmanr(one, other).statistic)


def label_metrics(estimate: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Counts (C,) against true counts (C,), which sum to N; counts of certified images alone may sum to less.

    leacc: share of classes whose presence is right; lnacc: share whose count is right; irec: share of images
    whose label is recovered, Σ min / N; skill: irec above uniform guessing's, as a share of what is left above it.
    """
    samples = truth.sum()
    irec = np.minimum(estimate, truth).sum() / samples
    even = np.full(len(truth), samples / len(truth))
    baseline = np.minimum(even, truth).sum() / samples
    return {
        "leacc": float(((estimate > 0) == (truth > 0)).mean()),
        "lnacc": float((estimate == truth).mean()),
        "irec": float(irec),
        "skill": float((irec - baseline) / (1 - baseline)) if baseline < 1 else float(irec == 1),
        "count_mae": float(np.abs(estimate - truth).mean()),
        "labels_exact": float((estimate == truth).all()),
    }


def interval_metrics(
    low: np.ndarray, high: np.ndarray, truth: np.ndarray, levels: Sequence[float]
) -> dict[str, float]:
    """Intervals (L, C) of the counts (C,) at nominal ``levels``: share of classes covered, and mean width in images."""
    covered = ((low <= truth) & (truth <= high)).mean(axis=1)
    width = (high - low).mean(axis=1)
    return {
        f"coverage_{100 * level:g}": float(value) for level, value in zip(levels, covered, strict=True)
    } | {f"width_{100 * level:g}": float(value) for level, value in zip(levels, width, strict=True)}


def bootstrap(
    values: np.ndarray, groups: np.ndarray, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """(mean, low, high): the mean over groups (draws) of group means, with a 95 % percentile bootstrap over groups.

    Seeds of one draw are no independent evidence, so draws are resampled and not trials. One group: low = high = nan.
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    keep = np.isfinite(values)
    values, groups = values[keep], groups[keep]
    if not len(values):
        return (np.nan,) * 3
    means = np.array([values[groups == g].mean() for g in np.unique(groups)])
    if len(means) < 2:
        return float(means.mean()), np.nan, np.nan
    sampled = means[np.random.default_rng(seed).integers(0, len(means), (resamples, len(means)))].mean(axis=1)
    low, high = np.percentile(sampled, [2.5, 97.5])
    return float(means.mean()), float(low), float(high)
