"""The expected error of a member's image: what the update leaves open of its pixels, to first order. It needs
no truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, feature_slopes, features_of
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.search_state import CandidateSet
from gradleak.attacks.span.subspace import Subspace


def expected_error(
    layer: DenseLayer, span: Subspace, inside: np.ndarray, image: np.ndarray, residual: float
) -> float:
    """The expected squared error of ``image`` [H, W, C], its mean over pixels ``inside`` the receptive field
    (bool [H, W, C]).

    Moving the pixels by x moves the part of the feature outside the span by A x, A = (1 − gain) ∂f/∂x. Its
    noise has the standard deviation s an entry: the update's own noise, carried by the combination of M's
    columns that gives f, or the noise that ρ (``residual``) implies, whichever is more. With a prior spread
    of τ a pixel the error is the trace of (AᵀA / s² + 1 / τ²)⁻¹, the posterior covariance of a linear
    Gaussian model. Pixels at 0 or 1 are taken to be right. So the number orders images; it is no confidence
    bound.
    """
    flat, bound = image.reshape(-1), thresholds.PIXEL_BOUND
    pixels = np.flatnonzero((flat > bound) & (flat < 1 - bound) & inside.reshape(-1))
    if not len(pixels):
        return 0.0
    value = features_of(layer, image[None])
    across = feature_slopes(layer, image, value[0], pixels, thresholds.PIXEL_STEP).astype(float)
    across -= across @ span.left * span.gain @ span.left.T
    carried = span.deviation * np.linalg.norm(span.coefficients(value))
    implied = np.sqrt(residual / max(len(span.left) - span.rank, 1)) * np.linalg.norm(value)
    precision = (
        across @ across.T / max(carried, implied) ** 2 + np.eye(len(pixels)) / thresholds.PIXEL_SPREAD**2
    )
    root = solve_triangular(cholesky(precision, lower=True), np.eye(len(pixels)), lower=True)
    return float(np.square(root).sum() / inside.sum())


def with_expected_errors(
    context: SearchContext, candidates: CandidateSet, which: Sequence[int], span: Subspace
) -> CandidateSet:
    """``candidates`` with the expected errors of the images ``which`` that have none yet, judged against
    ``span``."""
    errors = dict(candidates.expected_errors)
    for index in which:
        if index not in errors:
            errors[index] = expected_error(
                context.coarse,
                span,
                context.inside,
                candidates.images[index],
                candidates.certificates.residual[index],
            )
    return replace(candidates, expected_errors=errors)
