"""How far off a member's image may be: what the update leaves open of its pixels, to first order. It needs no truth."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.starting_images import features, slopes
from gradleak.attacks.span.subspace import Subspace

_SPREAD = 0.3  # standard deviation of a pixel of which nothing is known
_BOUND = 1e-3  # a pixel that is so near to 0 or 1 is taken to be there
_STEP = 1e-3  # of the differences, in float32


def expected_error(host: Host, span: Subspace, seen: np.ndarray, image: np.ndarray, residual: float) -> float:
    """The expected squared error of ``image`` [H, W, C], its mean over the pixels ``seen`` (bool [H, W, C]).

    Moving the pixels by x moves what lies across the span by A x, A = (1 − gain) ∂f/∂x. Noise of standard deviation s an entry is
    left there: the update's own, carried by the combination of M's columns that gives f, or what ρ (``residual``) says, if that is more. With a
    spread of τ a pixel beforehand, the error is the trace of (AᵀA / s² + 1 / τ²)⁻¹, the posterior covariance of a linear model.
    Pixels at a bound are taken to be right, and all others to be as open as the brightest: an order of images rather than a number.
    """
    flat = image.reshape(-1)
    pixels = np.flatnonzero((flat > _BOUND) & (flat < 1 - _BOUND) & seen.reshape(-1))
    if not len(pixels):
        return 0.0
    value = features(host, image[None])
    across = slopes(host, image, value[0], pixels, _STEP).astype(float)
    across -= across @ span.left * span.gain @ span.left.T
    carried = span.deviation * np.linalg.norm(span.coefficients(value))
    left = np.sqrt(residual / max(len(span.left) - span.rank, 1)) * np.linalg.norm(value)
    precision = across @ across.T / max(carried, left) ** 2 + np.eye(len(pixels)) / _SPREAD**2
    root = solve_triangular(cholesky(precision, lower=True), np.eye(len(pixels)), lower=True)
    return float(np.square(root).sum() / seen.sum())
