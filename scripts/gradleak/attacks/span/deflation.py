"""Recovery of one update's members in rounds: propose images, certify them, project the members out of M, and
again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradleak.attacks.span import (
    candidate_images,
    control,
    membership,
    subspace,
    two_class_features,
    two_sided_members,
    weight_vote,
)
from gradleak.attacks.span import certificates as certify
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.search_state import CandidateSet, SearchState, no_candidates
from gradleak.attacks.span.subspace import LayerGradient
from gradleak.attacks.span.weight_vote import Vote


def recover_members(
    context: SearchContext, gradient: LayerGradient, rounds: int, rng: np.random.Generator
) -> SearchState:
    """The members that M shows one by one, after ``rounds`` at most.

    Where the layer receives pixels, the two-sided search comes first. Rounds start from sparse rays while
    these show new members, then from images, too. Candidates that are not in the span to the noise are then
    measured against the control: a member that others cover, or that moved during local training, lies
    farther off the span than the noise, and still much nearer than any other image. Where features are linear
    in the image, only rays tell members from mixtures. The weight of a member is ``gradient.weight`` where
    that is known, else the candidates vote on it.
    """
    shape = context.pool.images.shape[1:]
    known = Vote(gradient.weight, voters=1, is_exact=True) if gradient.weight else Vote()
    samples = gradient.samples if gradient.samples >= gradient.span.rank else 0  # else the rank refutes it
    state = SearchState(no_candidates(shape, *gradient.matrix.shape), samples=samples, vote=known)
    state = two_sided_members.with_members(context, gradient, state, rng)
    while state.rounds < rounds and not _is_done(context, gradient, state):
        state = _next_round(context, gradient, state, rng)
    return state


def _is_done(context: SearchContext, gradient: LayerGradient, state: SearchState) -> bool:
    """Whether all members are known, rounds show no new one, or nothing of M is left beside the exact
    members."""
    is_complete = state.vote.weight > 0 and 0 < state.samples <= len(state.candidates.members)
    if state.idle >= context.options.patience or is_complete:
        return True
    if not (gradient.one_step or context.is_nonlinear):
        return True  # after several steps nothing but the two-sided search tells members from mixtures
    return gradient.without(state.candidates.exact_deltas).rank == 0


@dataclass(frozen=True)
class Proposals:
    """Polished images of one round.

    weights_count: whether weights are evidence; after several local steps they are not. uses_images, used: as
    in ``SearchState``.
    """

    images: np.ndarray
    weights_count: bool
    uses_images: bool
    used: frozenset[int]


def _next_round(
    context: SearchContext, gradient: LayerGradient, state: SearchState, rng: np.random.Generator
) -> SearchState:
    proposals = _propose(context, gradient, state, rng)
    fresh = 0
    if len(proposals.images):
        state, fresh = _accept(context, gradient, state, proposals, rng)
    share = subspace.unexplained_share(gradient.matrix, state.candidates.member_deltas)
    context.progress(
        "%d candidates, %d of them new members of %d in a span of %d directions, weight %.4g",
        len(proposals.images),
        fresh,
        len(state.candidates.members),
        gradient.span.rank,
        state.vote.weight,
    )
    return replace(
        state,
        unexplained=(*state.unexplained, share),
        idle=0 if fresh or state.rounds == 0 else state.idle + 1,
        rounds=state.rounds + 1,
        uses_images=proposals.uses_images,
        used=proposals.used,
    )


def _propose(
    context: SearchContext, gradient: LayerGradient, state: SearchState, rng: np.random.Generator
) -> Proposals:
    """The images of one round, before certificates."""
    span, candidates, used = gradient.span, state.candidates, state.used
    features = candidates.member_features
    avoid = subspace.orthonormal_basis(features) if candidates.members else None
    weights_count = gradient.one_step or state.vote.weight > 0 or state.rounds == 0
    images = [context.pool.images[:0]]
    if context.has_cone and weights_count and not (state.idle and context.is_nonlinear):
        current = replace(gradient, weight=state.vote.weight)
        images.append(candidate_images.from_rays(context, current, candidates, state.rounds, rng))
    shown = len(images[-1]) > 0
    uses_images = context.is_nonlinear and (state.uses_images or state.idle > 0 or not shown)
    if uses_images:
        barren = state.idle if state.uses_images else 0
        count = max(context.options.starts >> barren, 2)  # half as many after each round without a new member
        moved, used = candidate_images.from_images(context, span, avoid, count, used, rng)
        images.append(moved)
    polished = candidate_images.polished_candidates(context, span, avoid, features, np.concatenate(images))
    return Proposals(polished, weights_count, uses_images, used)


def _accept(
    context: SearchContext,
    gradient: LayerGradient,
    state: SearchState,
    proposals: Proposals,
    rng: np.random.Generator,
) -> tuple[SearchState, int]:
    """``state`` with the proposals as candidates, and members among them; and how many members are new."""
    span, images = gradient.span, proposals.images
    judged = certify.of_images(context.fine, span, images)
    decoded = np.zeros(0)
    if gradient.one_step and not context.is_nonlinear and context.fine.classes == 2:
        decoded = two_class_features.features_of_all(context.fine, gradient, judged)
    if len(decoded):
        images = candidate_images.exactly_of_features(context, decoded)
        judged = certify.of_images(context.fine, span, images)
    elif proposals.weights_count:
        images, judged = candidate_images.sharpened_candidates(context, span, images, judged)
    first, vote, minimum = len(state.candidates.images), state.vote, state.control_minimum
    candidates = state.candidates.added(images, judged)
    if proposals.weights_count and not gradient.weight:
        voters = judged if len(decoded) else candidates.certificates
        if not (context.is_nonlinear or len(decoded)):
            voters = membership.without_mixtures(voters, 0)
        vote = weight_vote.vote(voters, gradient.one_step, gradient.samples)
    if not context.is_nonlinear:
        judged = membership.without_mixtures(judged, vote.weight)
    exact: list[int] = []
    near: list[int] = []
    if vote.weight:
        candidates, exact = _with_exact(replace(gradient, weight=vote.weight), judged, candidates, first)
    if proposals.uses_images:
        minimum = control.control_minimum(context, span, rng) if minimum is None else minimum
        candidates, near = _with_near(gradient, minimum, judged, candidates, first)
    samples = state.samples if gradient.samples else round(vote.weight)
    state = replace(state, candidates=candidates, samples=samples, vote=vote, control_minimum=minimum)
    return state, len(exact) + len(near)


def _with_exact(
    gradient: LayerGradient, judged: Certificates, candidates: CandidateSet, first: int
) -> tuple[CandidateSet, list[int]]:
    """``candidates`` with the exact members among a round's images, and those. first: index of the round's
    first image."""
    order = np.argsort(judged.normalised_residual)
    is_member = membership.is_exact_member(judged, gradient.weight) | membership.has_own_evidence(judged)
    good = order[is_member[order]]
    fresh = membership.that_lower_the_rank(
        gradient, judged, good, candidates.exact_features, candidates.exact_deltas
    )
    candidates = candidates.improved([first + int(index) for index in good if index not in fresh])
    for index in fresh:
        candidates = candidates.with_exact_member(first + index)
    return candidates, fresh


def _with_near(
    gradient: LayerGradient,
    control_minimum: float,
    judged: Certificates,
    candidates: CandidateSet,
    first: int,
) -> tuple[CandidateSet, list[int]]:
    """The same for near members."""
    order = np.argsort(judged.residual)
    good = order[membership.is_near_member(judged.residual, control_minimum)[order]]
    fresh = membership.separate_near_members(
        judged.feature, gradient.span, good, candidates.member_features, control_minimum
    )
    return candidates.with_members([first + index for index in fresh]), fresh
