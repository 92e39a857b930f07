"""Metrics of one trial against the truth: images, certificates, labels.

Images are float32 (…, H, W, C) in [0, 1]; the data range is 1. PSNR itself is ``gradleak.images.psnr``, since
attacks compute it, too; ``image_metrics`` applies it to matched pairs. Intervals over trials are in
``bootstrap``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity

from gradleak.images import psnr

RECOVERED = 20  # dB, the PSNR from which an image counts as recovered


def pairwise_mse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared error of every image of ``a`` with every image of ``b``: float64 (A, B).

    Computed as (‖a‖² + ‖b‖² − 2 a·b) / pixels, exact to about 1e-15, which is far below PSNR_CEILING.
    """
    # The number of pixels is computed, since reshape cannot infer it for zero images.
    a, b = (i.reshape(len(i), np.prod(i.shape[1:], dtype=int)).astype(np.float64, copy=False) for i in (a, b))
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    return np.maximum(squared, 0) / a.shape[1]


def assign(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one assignment of M reconstructions to N true images with the highest total PSNR.

    Returns (index into found, index into truth), min(M, N) pairs sorted by the true image. Each
    reconstruction counts once. Solved as a linear sum assignment (Crouse 2016, DOI 10.1109/TAES.2016.140952).
    """
    if not len(found) or not len(truth):
        return np.zeros(0, int), np.zeros(0, int)
    rows, columns = linear_sum_assignment(-psnr(pairwise_mse(found, truth)))
    order = np.argsort(columns)
    return rows[order], columns[order]


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two images (H, W, C), in [−1, 1].

    Wang et al. 2004, DOI 10.1109/TIP.2003.819861:
    SSIM = mean over windows and channels of (2 μ_a μ_b + c₁) (2 σ_ab + c₂) / ((μ_a² + μ_b² + c₁) (σ_a² + σ_b²
    + c₂)), c₁ = 0.01², c₂ = 0.03². Windows are uniform, 7×7; on images with a shorter side the largest odd
    size that fits. NaN for vectors and other images of less than three rows or columns, which have no
    structure in this sense.
    """
    side = min(7, *a.shape[:2])
    window = side - (side + 1) % 2  # odd
    if window < 3:
        return float("nan")
    return float(structural_similarity(a, b, data_range=1.0, channel_axis=-1, win_size=window))


def image_metrics(found: np.ndarray, truth: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of one trial, and its matched pairs: indices ``found`` and ``truth``, and ``psnr``.

    found: (M, H, W, C), what the attack accepted; truth: (N, H, W, C). PSNR in dB, SSIM and MSE are means
    over the pairs of ``assign``. Shares are over all N true images: one without a pair counts as not
    recovered.
    """
    rows, columns = assign(found, truth)
    pairs = {"found": rows, "truth": columns}
    if not len(rows):
        return {"matched": 0, "share_20db": 0.0, "share_30db": 0.0}, pairs | {"psnr": np.zeros(0)}
    mse = np.mean((found[rows].astype(np.float64) - truth[columns]) ** 2, axis=(1, 2, 3))
    similarity = float(np.mean([ssim(found[i], truth[j]) for i, j in zip(rows, columns, strict=True)]))
    values = psnr(mse)
    return {
        "matched": len(rows),
        "psnr": float(values.mean()),
        "psnr_median": float(np.median(values)),
        "psnr_best": float(values.max()),
        **({"ssim": similarity} if np.isfinite(similarity) else {}),
        "mse": float(mse.mean()),
        "share_20db": float((values >= RECOVERED).sum() / len(truth)),
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
    """How far the certificates of one trial can be trusted, given its true images ``truth`` (N, H, W, C).

    images (K, H, W, C), accepted, residual and expected PSNR (K,): all candidates. samples: the estimate of
    N, 0 for none. As ``certified``, and false_positives: accepted images with less than 20 dB to every true
    image; samples_exact: 1 if the estimate of N is right; residual_rank: Spearman correlation of residual and
    PSNR over all candidates; expected_rank: that of expected and true PSNR over the accepted ones.
    """
    out = certified(accepted, expected, samples) | {"false_positives": 0}
    if samples > 0:
        out["samples_exact"] = float(samples == len(truth))
    if len(images):
        nearest = psnr(pairwise_mse(images, truth).min(axis=1))
        out["false_positives"] = int((accepted & (nearest < RECOVERED)).sum())
        ranks = {
            "residual_rank": _rank(residual, nearest),
            "expected_rank": _rank(expected[accepted], nearest[accepted]),
        }
        out |= {name: rank for name, rank in ranks.items() if rank is not None}
    return out


def certified(accepted: np.ndarray, expected: np.ndarray, samples: int) -> dict[str, float]:
    """Metrics of one trial from its certificates, without the truth.

    accepted, expected PSNR (K,): all candidates. samples: the estimate of N, 0 for none. Returns certified,
    the number of accepted images; expected_psnr, the mean over them in dB; samples_estimated, N. Unknown
    values have no key.
    """
    out: dict[str, float] = {"certified": int(accepted.sum())}
    if accepted.any():
        out["expected_psnr"] = float(expected[accepted].mean())
    if samples > 0:
        out["samples_estimated"] = samples
    return out


def _rank(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation, in [−1, 1]; None if it is not defined."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    from scipy.stats import spearmanr  # half a second of imports, for span inversion alone

    return float(spearmanr(one, other).statistic)


def label_metrics(estimate: np.ndarray, truth: np.ndarray, images: int = 0) -> dict[str, float]:
    """Estimated counts n̂ (C,) against true counts n (C,), Σ n = N.

    Counts of certified images may sum to less than N.
    leacc: share of classes whose presence is right; lnacc: share whose count is right (both Ma et al. 2023,
    iLRG, https://openreview.net/forum?id=FIrQfNSOoTr); irec: share of images whose label is recovered, Σ
    min(n̂, n) / N; skill: (irec − u) / (1 − u) with u the irec of the uniform guess N / C; count_mae: mean
    |n̂ − n|; labels_exact: 1 if all counts are right. images: N, where an image has any number of labels. Then
    each label is a problem of two classes, and irec is the mean over them, 1 − |n̂ − n| / N.
    """
    if images:
        irec, baseline = (1 - np.abs(one - truth).mean() / images for one in (estimate, images / 2))
    else:
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
    """Intervals ``low``, ``high`` (L, C) of true counts (C,) at L nominal levels in (0, 1).

    coverage_<level>: share of classes whose count lies in the interval; width_<level>: its mean width in
    images.
    """
    covered = ((low <= truth) & (truth <= high)).mean(axis=1)
    width = (high - low).mean(axis=1)
    return {
        f"coverage_{100 * level:g}": float(value) for level, value in zip(levels, covered, strict=True)
    } | {f"width_{100 * level:g}": float(value) for level, value in zip(levels, width, strict=True)}
