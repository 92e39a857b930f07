"""Members that no search of the whole update shows: known ones are fitted together, and the remainder is
searched, in rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradleak.attacks.span import certificates as certify
from gradleak.attacks.span import (
    control,
    deflation,
    joint_fit,
    joint_residual,
    membership,
    posterior_error,
    thresholds,
)
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.checkpoint import Checkpoint
from gradleak.attacks.span.joint_residual import FittedImages, JointModel
from gradleak.attacks.span.joint_state import JointState, joint_state
from gradleak.attacks.span.search_context import SearchContext
from gradleak.attacks.span.search_state import CandidateSet, SearchState
from gradleak.attacks.span.subspace import Subspace, layer_gradient, of_matrix


def search_jointly(
    context: SearchContext,
    span: Subspace,
    state: SearchState,
    rng: np.random.Generator,
    checkpoint: Checkpoint | None = None,
    joint: JointState | None = None,
) -> SearchState:
    """``state`` with further members of the update with ``span``, and with exacter images of its own members.

    Where the fit does not certify an image, a candidate stays as it was, and a new image is left out.
    checkpoint: where the states are saved before every round. joint: the state to go on from, if any.
    """
    model = joint_residual.joint_model(context.fine, span, state.samples, state.vote.weight)
    joint = joint or _start(model, state.candidates)
    if not model.is_possible(joint.fitted):
        return state
    is_over = False
    while not is_over:
        if checkpoint:
            checkpoint.save(state, joint, rng)
        model, state, joint, is_over = _next_round(context, model, state, joint, rng)
    return _settled(context, model, state, joint, rng)


def search_jointly_without_members(
    context: SearchContext, span: Subspace, state: SearchState, rng: np.random.Generator
) -> SearchState:
    """The control: after a first fit the remainder is replaced by a span like it without members.

    The members of the result are the images that are new there: all of them are false positives.
    """
    model = joint_residual.joint_model(context.fine, span, state.samples, state.vote.weight)
    joint = _start(model, state.candidates)
    if not model.is_possible(joint.fitted):
        return replace(state, candidates=replace(state.candidates, members=()))
    is_over = False
    while not is_over:
        is_first = joint.round == 0
        model, state, joint, is_over = _next_round(
            context, model, state, joint, rng, replaces_remainder=is_first
        )
    return _settled(context, model, state, joint, rng, only_new=True)


def _start(model: JointModel, candidates: CandidateSet) -> JointState:
    place = np.array(candidates.members, int)
    residual = candidates.certificates.residual[place]
    return joint_state(model.start(candidates.images[place], candidates.labels[place], residual), place)


def _next_round(
    context: SearchContext,
    model: JointModel,
    state: SearchState,
    joint: JointState,
    rng: np.random.Generator,
    replaces_remainder: bool = False,
) -> tuple[JointModel, SearchState, JointState, bool]:
    """One fit and one search of the remainder; and whether it was the last round.

    replaces_remainder: whether the remainder after the fit is replaced by one without members.
    """
    options, progress = context.options, context.progress
    is_last = joint.idle == thresholds.JOINT_PATIENCE or joint.round == options.joint_rounds - 1
    model = model.with_weak(0 if is_last else joint.weak)
    fitted = joint_fit.refine_and_relabel(model, joint.fitted, options.joint_steps, progress)
    joint = replace(joint, fitted=fitted)
    if replaces_remainder:
        model = _with_remainder_without_members(context, model, fitted, rng)
    if not is_last:
        if joint.idle:
            model, joint = _with_fewer_directions(context, model, joint)
        joint = _without_weak_images(context, model, joint)
    joint = joint.with_best()
    remainder, noise = model.remainder(joint.fitted), model.noise(joint.fitted)
    share = float(np.linalg.norm(remainder) ** 2 / np.linalg.norm(model.matrix) ** 2)
    state = replace(state, unexplained=(*state.unexplained, share))
    new = int((joint.place < 0).sum())
    progress("%d of %d fitted together, %d of them new", len(joint.fitted), state.samples, new)
    if is_last or len(joint.fitted) == state.samples:
        return model, state, joint, True
    gradient = layer_gradient(remainder, noise, state.samples, model.weight)
    shown = deflation.recover_members(context, gradient, thresholds.REMAINDER_ROUNDS, rng)
    images, place = _new_images(model, joint, state.candidates, shown.candidates)
    room = state.samples - len(joint.fitted)
    return model, state, joint.with_new(images.subset(slice(room)), place[:room]), False


def _with_fewer_directions(
    context: SearchContext, model: JointModel, joint: JointState
) -> tuple[JointModel, JointState]:
    """Leaves the remainder ever fewer free directions, until the fit no longer explains the update.

    Some missing members are below the noise, or have nearly the same δ as others. Directions that are free
    for them nevertheless take up errors of the fitted images, which cover other members.
    """
    steps = thresholds.TIGHT_STEPS * context.options.joint_steps
    while model.is_explained(
        model.misfit(joint.fitted), joint.fitted
    ) and joint.weak + thresholds.DIRECTIONS_LESS <= model.most_weak(joint.fitted):
        joint = replace(joint, weak=joint.weak + thresholds.DIRECTIONS_LESS, most=0)
        model = model.with_weak(joint.weak)
        fitted = joint_fit.refine(model, joint.fitted, steps, context.progress)
        joint = replace(joint, fitted=fitted)
    return model, joint


def _without_weak_images(context: SearchContext, model: JointModel, joint: JointState) -> JointState:
    """Where the fit does not explain the update: without the images that it needs least, and fitted again."""
    if model.is_explained(model.misfit(joint.fitted), joint.fitted):
        return joint
    essential = joint_residual.is_essential(model, joint.fitted)
    if essential.all():
        return joint
    fitted = joint_fit.refine(
        model, joint.fitted.subset(essential), context.options.joint_steps, context.progress
    )
    return joint.with_fit(fitted, joint.place[essential])


def _with_remainder_without_members(
    context: SearchContext, model: JointModel, fitted: FittedImages, rng: np.random.Generator
) -> JointModel:
    """The model of an update in which ``fitted`` leave as many directions of the same strength, but no
    members."""
    remainder, noise = model.remainder(fitted), model.span.noise
    null = control.span_without_members(context, of_matrix(remainder @ model.rows, noise), rng)
    matrix = model.matrix - remainder + null.matrix @ model.rows.T
    return joint_residual.joint_model(model.layer, of_matrix(matrix, noise), model.samples, model.weight)


def _new_images(
    model: JointModel, joint: JointState, candidates: CandidateSet, shown: CandidateSet
) -> tuple[FittedImages, np.ndarray]:
    """The members ``shown`` by the remainder that are not among the fitted images, and the place of each
    among ``candidates``.

    The place is that of a member that is not fitted now and has a similar feature, else −1. A member similar
    to a fitted image counts if it is exact: what the errors of the other one leave does not have the weight
    N.
    """
    members, judged = np.array(shown.members, int), shown.certificates
    if len(members):
        exact = np.isin(members, sorted(shown.exact))
        unlike = membership.is_unlike(judged.feature[members], model.features(joint.fitted))
        members = members[exact | unlike]
    images = model.start(shown.images[members], shown.labels[members], judged.residual[members])
    images = replace(images, error=np.maximum(images.error, thresholds.NEW_IMAGE_ERROR))
    free = np.setdiff1d(np.array(candidates.members, int), joint.place).tolist()
    places = np.full(len(members), -1)
    for k, member in enumerate(members):
        similar = membership.most_similar(candidates.certificates.feature[free], judged.feature[member])
        if similar is not None:
            places[k] = free.pop(similar)
    return images, places


def _settled(
    context: SearchContext,
    model: JointModel,
    state: SearchState,
    joint: JointState,
    rng: np.random.Generator,
    only_new: bool = False,
) -> SearchState:
    """``state`` with each fitted image that counts as a member, judged by what all others leave of the
    update.

    Of the last fit and the largest one, the one with more members. only_new: without the members so far.
    """
    fits = [(joint.fitted, joint.place)]
    if len(joint.best) > len(joint.fitted):
        quiet = replace(context, progress=lambda text, *values: None)
        best = joint_fit.refine_and_relabel(model, joint.best, context.options.joint_steps, quiet.progress)
        fits.append((best, joint.best_place))
    verdicts = [_judged(context, model, fitted, place, rng) for fitted, place in fits]
    chosen = max(range(len(fits)), key=lambda k: sum(is_member for _, is_member in verdicts[k]))
    fitted, places = fits[chosen]
    candidates = replace(state.candidates, members=()) if only_new else state.candidates
    spans = joint_residual.remainders_without_each(model, fitted)
    for k, (place, (judged, is_member), span) in enumerate(zip(places, verdicts[chosen], spans, strict=True)):
        if not is_member or (only_new and place >= 0):
            continue
        index = len(candidates.images)
        candidates = candidates.added(fitted.images[[k]], judged)
        candidates = replace(candidates, joint=candidates.joint | {index})
        candidates = posterior_error.with_expected_errors(context, candidates, [index], span)
        if place < 0:
            candidates = candidates.with_members([index])
        else:
            candidates = candidates.with_image_of(int(place), index)
    return replace(state, candidates=candidates)


def _judged(
    context: SearchContext,
    model: JointModel,
    fitted: FittedImages,
    places: np.ndarray,
    rng: np.random.Generator,
) -> list[tuple[Certificates, bool]]:
    """Of each image its certificates, and whether it counts as a member. One control, that of the first
    image, serves all."""
    verdicts, minimum = [], None
    spans = joint_residual.remainders_without_each(model, fitted)
    for k, (place, span) in enumerate(zip(places, spans, strict=True)):
        judged = certify.of_images(context.fine, span, fitted.images[[k]], fitted.labels[[k]])
        judged = replace(judged, predicted=fitted.labels[[k]])
        minimum = minimum or control.control_minimum(context, span, rng)
        is_member = membership.is_joint_member(judged, model.weight, minimum, near=place >= 0)
        verdicts.append((judged, bool(is_member[0])))
    return verdicts
