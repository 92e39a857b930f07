"""The images of one round: from sparse rays, from public images and from a decoder; then polished near the
span."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradleak.attacks.span import certificates as certify
from gradleak.attacks.span import feature_inversion, membership, sparse_rays, thresholds
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.dense_layer import features_of
from gradleak.attacks.span.feature_inversion import Steps
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.search_state import CandidateSet
from gradleak.attacks.span.subspace import LayerGradient, Subspace


def from_rays(
    context: SearchContext,
    gradient: LayerGradient,
    candidates: CandidateSet,
    skip: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Images [B, H, W, C] of sparse rays, with the exact members of ``candidates`` projected out.

    Rays that are probably members are projected out in turn, so that the smaller cone shows others. skip:
    earlier rounds, whose public images are not started from again. ``gradient.weight``: that of a member,
    0 where it is not known yet.
    """
    features, deltas, rays = candidates.exact_features, candidates.exact_deltas, []
    while True:
        found = _rays_without(context, gradient, deltas, rng)
        if not len(found):
            break
        judged = certify.of_features(context.fine, gradient.span, found / found[:, -1:])
        probable = membership.probable_members(judged, gradient.weight, features)
        rays.append(found[probable] if probable else found)
        if not probable:
            break
        features = np.concatenate([features, judged.feature[probable]])
        deltas = np.concatenate([deltas, judged.delta[probable]])
    if not rays:
        return context.pool.images[:0]
    images = of_features(context, np.concatenate(rays), skip)
    steps = Steps(thresholds.RAY_IMAGE_STEPS, thresholds.RAY_IMAGE_RATE)
    return feature_inversion.pixels(context.coarse, gradient.span, None, images, steps)


def _rays_without(
    context: SearchContext, gradient: LayerGradient, deltas: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Rays [B, I] of positive length with the members of ``deltas`` [F, O] projected out."""
    span = gradient.without(deltas)
    if not span.rank:
        return np.zeros((0, len(gradient.matrix)))
    rays = sparse_rays.rays(span, context.options.rays, rng, context.pool.features)
    return rays[rays[:, -1] > 0]


def of_features(context: SearchContext, features: np.ndarray, skip: int) -> np.ndarray:
    """Images [B, H, W, C] of ``features`` [B, I], from public images that none of ``skip`` earlier rounds
    started from."""
    count = context.options.ray_starts
    starts = context.pool.alike(features, count, skip * count)
    return feature_inversion.images_of(context.coarse, features, starts, context.options.ray_steps)


def exactly_of_features(context: SearchContext, features: np.ndarray) -> np.ndarray:
    """The same in float64, for ``features`` that are exact."""
    starts = of_features(context, features, 0).astype(np.float64)[:, None]
    return feature_inversion.images_of(context.fine, features, starts, 1, context.options.polish_steps)


def from_images(
    context: SearchContext,
    span: Subspace,
    avoid: np.ndarray | None,
    count: int,
    used: frozenset[int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, frozenset[int]]:
    """``count`` images moved towards the span, and the pool images that are used after that.

    They start from the pool images of least ρ that are not ``used``; half of them from random codes if there
    is a decoder.
    """
    options, decoded, of_pool = context.options, [], count
    if context.decoder is not None:
        of_pool = count // 2
        codes = rng.normal(size=(count - of_pool, context.decoder.input_shape[-1]))
        decoded.append(
            feature_inversion.codes(context.coarse, span, avoid, context.decoder, codes, options.code_steps)
        )
    nearest = context.pool.nearest(span, avoid, of_pool, used)
    starts = np.concatenate([context.pool.images[nearest], *decoded])
    steps = Steps(options.steps, options.learning_rate, plateau=thresholds.PLATEAU)
    return feature_inversion.pixels(context.coarse, span, avoid, starts, steps), used.union(nearest)


def polished_candidates(
    context: SearchContext,
    span: Subspace,
    avoid: np.ndarray | None,
    members: np.ndarray,
    images: np.ndarray,
) -> np.ndarray:
    """The ``images`` near ``span`` and unlike one another, polished: float64 [B, H, W, C].

    Of those similar to one of the features ``members`` [F, I], only the ones whose difference from it
    (``avoid``: a basis of these features) also has a small ρ.
    """
    if not len(images):
        return images
    values = features_of(context.coarse, images)
    rho = span.residual(values)
    near = (rho < thresholds.CANDIDATE_RESIDUAL) & (
        membership.is_unlike(values, members) | (span.residual(values, avoid) < thresholds.CANDIDATE_RESIDUAL)
    )
    chosen = membership.distinct(values, [index for index in np.argsort(rho) if near[index]])
    chosen = chosen[: thresholds.CANDIDATES_PER_ROUND]
    return polished(context, span, avoid, images[chosen].astype(np.float64))


def polished(
    context: SearchContext, span: Subspace, avoid: np.ndarray | None, images: np.ndarray
) -> np.ndarray:
    """float64 ``images`` [B, H, W, C] moved to the least ρ nearby."""
    steps = context.options.polish_steps
    if not len(images) or not steps:
        return images
    return feature_inversion.polished(context.fine, _with_less_noise(span), avoid, images, steps)


def sharpened_candidates(
    context: SearchContext, span: Subspace, images: np.ndarray, judged: Certificates
) -> tuple[np.ndarray, Certificates]:
    """``images`` [B, H, W, C] moved so that the δ of their labels are in the row space, too, and their
    certificates.

    Where that moves an image out of the span or changes its label, it stays as it was.
    """
    steps = context.options.polish_steps
    close = np.flatnonzero(judged.normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL)
    if not len(close) or not steps:
        return images, judged
    moved = images.copy()
    moved[close] = feature_inversion.sharpened(
        context.fine, _with_less_noise(span), judged.label[close], images[close], steps
    )
    after = certify.of_images(context.fine, span, moved)
    exact = after.normalised_residual < thresholds.NORMALISED_RESIDUAL
    better = exact & (after.label == judged.label)
    return np.where(better[:, None, None, None], moved, images), certify.where(better, after, judged)


def _with_less_noise(span: Subspace) -> Subspace:
    """With all of its noise, weak members would be drawn towards strong ones."""
    return replace(span, noise=thresholds.POLISH_NOISE * span.noise)
