"""The members that the two-sided search finds, as candidates with certificates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradleak.attacks.span import activation_patterns, subspace, thresholds, two_sided, weight_vote
from gradleak.attacks.span import certificates as certify
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.search_state import SearchState
from gradleak.attacks.span.subspace import LayerGradient
from gradleak.attacks.span.two_sided import TwoSided


def with_members(
    context: SearchContext, gradient: LayerGradient, state: SearchState, rng: np.random.Generator
) -> SearchState:
    """``state``, which has no candidates yet, with the members of a layer that receives pixels.

    They are marked exact. The tests of ``two_sided`` do not use the weight, so they apply after several local
    steps, too.
    """
    inputs = context.inputs
    if inputs is None:
        return state
    # Rounding errors of independent steps add in squares.
    span = replace(gradient.span, noise=gradient.span.noise * np.sqrt(gradient.steps))
    rows = activation_patterns.row_space(span)
    if not rows.rank or rows.live.sum() <= rows.rank + thresholds.SPARE_UNITS:
        return state
    search = TwoSided(context.fine, inputs, span, rows, _path(context, gradient))
    public = context.pool.features[: thresholds.PUBLIC_PATTERNS].astype(np.float64)
    found = two_sided.members(search, public, rng)
    errors = np.square(found.noise[:, None] / inputs.slope).mean(axis=1)  # expected, of each image
    clear = errors < thresholds.CERTIFIED_ERROR
    count = int(clear.sum())
    context.progress("%d members by two-sided search of rank %d", count, rows.rank)
    if not count:
        return state
    images = np.clip(inputs.images(found.features[clear]), 0.0, 1.0)
    judged = certify.of_images(context.fine, span, images)
    # The decoded direction, with the length and the sign of the model's δ.
    size = (judged.delta * found.deltas[clear]).sum(axis=1) / np.square(found.deltas[clear]).sum(axis=1)
    size = np.where(size == 0, 1.0, size)
    judged = replace(judged, delta=found.deltas[clear] * size[:, None])
    certificates_count = gradient.one_step and found.is_exact
    if not certificates_count:
        judged = replace(judged, label=found.labels[clear])
    # The label has the largest share in δ of hard labels only.
    is_open = not certificates_count and not context.fine.loss.is_plain
    candidates = replace(
        state.candidates.added(images, judged),
        members=tuple(range(count)),
        exact=frozenset(range(count)),
        unlabelled=frozenset(range(count) if is_open else ()),
        expected_errors=dict(enumerate(errors[clear].tolist())),
    )
    vote = state.vote
    if certificates_count and not gradient.weight:
        vote = weight_vote.vote(judged, gradient.one_step, gradient.samples)
    share = subspace.unexplained_share(gradient.matrix, candidates.member_deltas)
    samples = state.samples or round(vote.weight)
    return replace(state, candidates=candidates, vote=vote, samples=samples, unexplained=(share,))


def _path(context: SearchContext, gradient: LayerGradient) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias at points of the straight line from before to after the local training."""
    kernel, offset = context.fine.weights, context.fine.offset
    shares = (0.0,) if gradient.one_step else thresholds.PATH_POINTS
    moved = gradient.rate * gradient.matrix
    return [(kernel - share * moved[:-1], offset - share * moved[-1]) for share in shares]
