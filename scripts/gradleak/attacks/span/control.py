"""The control: the same search in a span without members, whose least ρ is the scale of near members."""

from __future__ import annotations

import numpy as np

from gradleak.attacks.span import candidate_images, thresholds
from gradleak.attacks.span.dense_layer import features_of
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.subspace import Subspace


def span_without_members(context: SearchContext, span: Subspace, rng: np.random.Generator) -> Subspace:
    """A span of the same singular values and noise, over random mixtures of the pool's features."""
    features = context.pool.features
    mixtures = rng.normal(size=(len(span.values), len(features))) @ features
    left, _ = np.linalg.qr(mixtures.T)
    right, _ = np.linalg.qr(rng.normal(size=span.right.shape))
    return Subspace(left, span.values, right, span.noise)


def control_minimum(context: SearchContext, span: Subspace, rng: np.random.Generator) -> float:
    """The least ρ of a search from images in a span like ``span`` without members."""
    null = span_without_members(context, span, rng)
    images, _ = candidate_images.from_images(context, null, None, thresholds.CONTROL_IMAGES, frozenset(), rng)
    return float(null.residual(features_of(context.fine, images)).min())
