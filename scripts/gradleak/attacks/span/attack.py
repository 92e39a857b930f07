"""Span inversion: recover a batch's images one by one from a dense layer's gradient, with certificates.

The gradient M = (1/N) Σ f_n δ_nᵀ of a dense layer has every member's feature in its column space. Where
features are nonnegative and sparse, as behind a ReLU, they are extreme rays of a cone, which linear programs
find (``sparse_rays``); images are then fitted to them. Elsewhere images are moved until their feature is in
the span. Certificates that need no truth judge each image. Members are projected out of M, and the search
goes on in the smaller span (``deflation``). Members that the span shows only in sums are searched in what the
known ones, fitted together, leave (``joint_search``). Spans of a layer's gradient: SPEAR (Dimitrov et al.
2024), DAGER (Petrov et al. 2024); the cone and the search are ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import keras
import numpy as np

from gradleak.attacks import inversion_files, receptive_field
from gradleak.attacks.inversion_files import PADDING
from gradleak.attacks.problem import Inversion, Problem, not_applicable
from gradleak.attacks.span import (
    control,
    deflation,
    joint_search,
    layer_selection,
    membership,
    posterior_error,
    starting_images,
    updated_labels,
    verdict,
)
from gradleak.attacks.span.checkpoint import Checkpoint
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.search_context import SearchContext, search_context
from gradleak.attacks.span.search_state import SearchState, TrialResult, result_of
from gradleak.attacks.span.subspace import LayerGradient, layer_gradient
from gradleak.files import read_npz, write_npz
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.gradients.trace import Untraceable
from gradleak.images import psnr
from gradleak.losses import loss_named
from gradleak.optim import checkpoints

MANY_LABELS = (
    "span inversion tries each class as the label of an image, and with one sigmoid a class an image has any "
    "set of labels"
)
NO_STATISTICS = (
    "BatchNorm normalised by statistics of the batch that the update does not show, so that the features of "
    "members cannot be computed"
)


def invert(
    problem: Problem,
    options: SpanOptions,
    decoder: keras.Model | None = None,
    checkpoint: Path | None = None,
    progress: Callable[..., None] | None = None,
) -> Inversion:
    """The members of every trial of ``problem``. M, the images of a trial, are all candidates, members first.

    decoder: z [B, d] → images [B, H, W, C] in [0, 1]. checkpoint: a folder; finished trials are saved there
    and not repeated, and so is a joint search after every round. progress: called as ``logging.info`` is.
    """
    began = time.monotonic()
    if problem.is_multi_label:
        return not_applicable(problem, MANY_LABELS)
    if problem.coupled and not problem.has_statistics:
        return not_applicable(problem, NO_STATISTICS)
    images, loss = starting_images.of_kind(problem.public, problem.shape), loss_named(problem.loss)
    outside = receptive_field.mask(problem.model)

    def context_of(layers: tuple[DenseLayer, DenseLayer]) -> SearchContext:
        return search_context(layers, images, ~outside, decoder, options, progress)

    @cache
    def deeper() -> SearchContext:
        found = layer_selection.select(problem.model, images, problem.is_one_step, problem.coupled, loss)
        return context_of(found)

    try:
        pixels = layer_selection.of_pixels(problem.model, images, problem.coupled, loss)
        first = deeper() if pixels is None else replace(context_of(pixels), is_first=True)
    except layer_selection.NoLayer as reason:
        return not_applicable(problem, str(reason))
    except Untraceable as error:
        return not_applicable(problem, f"the model cannot be split at a dense layer: {error}")
    trials = range(len(problem.seeds))
    results = [_trial(first, deeper, problem, index, checkpoint) for index in trials]
    return _inversion(problem, _filled(results, outside, problem.public), time.monotonic() - began)


def _trial(
    first: SearchContext,
    deeper: Callable[[], SearchContext],
    problem: Problem,
    index: int,
    folder: Path | None,
) -> TrialResult:
    """Trial number ``index``: read from ``folder`` if it is finished there, else searched and saved.

    Where the layer of ``first`` receives pixels and does not show all members, the ``deeper`` layer is
    searched, too, and the one that shows more counts.
    """
    seed = problem.seeds[index]
    file = folder / f"seed-{seed}.npz" if folder else None
    if file and file.exists():
        return _read(file)
    place = folder / f"seed-{seed}" if folder else None
    gradient, found = _searched(first, problem, index, place)
    better = found
    if first.is_first and found.accepted.sum() < gradient.span.rank:
        better = _better(found, first, deeper, problem, index, place)
    knows_labels = first.is_first and better is found
    result = _after_several_steps(problem, index, better, knows_labels)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_npz(file, **{part.name: getattr(result, part.name) for part in fields(result)})
    return result


def _better(
    found: TrialResult,
    first: SearchContext,
    deeper: Callable[[], SearchContext],
    problem: Problem,
    index: int,
    place: Path | None,
) -> TrialResult:
    """``found`` in the layer of ``first``, or what the ``deeper`` layer shows: if that is more, or as much in
    another layer after one step. It shows no more members than it has outputs. After several steps the search
    of the same layer would only repeat itself."""
    try:
        context = deeper()
    except layer_selection.NoLayer:
        return found
    count = int(found.accepted.sum())
    is_same = context.fine.name == first.fine.name
    if context.fine.weights.shape[1] <= count or (is_same and not problem.is_one_step):
        return found
    _, other = _searched(context, problem, index, place)
    least = count if problem.is_one_step and not is_same else count + 1
    return other if other.accepted.sum() >= least else found


def _searched(
    context: SearchContext, problem: Problem, index: int, folder: Path | None
) -> tuple[LayerGradient, TrialResult]:
    """The gradient of the layer of ``context`` in trial number ``index``, and what its search finds."""
    seed = problem.seeds[index]
    matrix = context.fine.gradient([gradient[index] for gradient in problem.gradients])
    noise = context.fine.noise(matrix, problem.rounding, problem.noise)
    one_step = problem.is_one_step
    rate = FLOAT32_ROUNDING / problem.rounding if problem.rounding else 0.0
    samples = problem.samples if one_step else 0
    gradient = layer_gradient(matrix, noise, samples, one_step=one_step)
    gradient = replace(gradient, steps=problem.steps or 1, rate=rate)
    rng = problem.rng(seed, "span")
    context.progress("seed %d, layer %s", seed, context.fine.name)
    if context.options.control == "random_gradient":
        return gradient, search_control(context, gradient, rng)
    facts = {
        "options": repr(context.options),
        "noise": noise,
        "samples": problem.samples,
        "scale_confidence": problem.scale_confidence,
    }
    checkpoint = Checkpoint(folder, checkpoints.digest(facts, {"matrix": matrix})) if folder else None
    return gradient, search(context, gradient, rng, checkpoint, problem.scale_confidence)


def search(
    context: SearchContext,
    gradient: LayerGradient,
    rng: np.random.Generator,
    checkpoint: Checkpoint | None = None,
    scale_confidence: float = 1.0,
) -> TrialResult:
    """The candidates and members of one update, and what their weights prove.

    checkpoint: where a joint search is saved and resumed. scale_confidence: of the scale that the update was
    divided by.
    """
    rounds = 0 if context.is_first else context.options.rounds
    saved = checkpoint.load(rng) if checkpoint else None
    state, joint = saved or (deflation.recover_members(context, gradient, rounds, rng), None)
    has_verdict = gradient.one_step and gradient.samples > 0
    if has_verdict and not joint:
        state = replace(state, samples=verdict.of_search(gradient, state, scale_confidence).count)
    if joint or _needs_joint_search(context, gradient, state):
        state = joint_search.search_jointly(context, gradient.span, state, rng, checkpoint, joint)
    state = _certified(context, state, gradient)
    if not has_verdict:
        return result_of(state)
    return verdict.result_with(verdict.of_search(gradient, state, scale_confidence), state)


def search_control(context: SearchContext, gradient: LayerGradient, rng: np.random.Generator) -> TrialResult:
    """The same search in a span like M's without members, and where members of M would be fitted together, in
    a remainder like theirs without members. All accepted images are false positives."""
    rounds = 0 if context.is_first else context.options.rounds
    null = control.span_without_members(context, gradient.span, rng)
    without = layer_gradient(null.matrix, gradient.noise, one_step=gradient.one_step)
    state = deflation.recover_members(context, without, rounds, rng)
    if context.options.joint_rounds and rounds:
        real = deflation.recover_members(context, gradient, rounds, rng)
        if _needs_joint_search(context, gradient, real):
            real = joint_search.search_jointly_without_members(context, gradient.span, real, rng)
            state = replace(state, candidates=state.candidates.with_members_of(real.candidates))
    return result_of(_certified(context, state, without))


def _needs_joint_search(context: SearchContext, gradient: LayerGradient, state: SearchState) -> bool:
    """Whether members are missing that a joint search may show."""
    some = context.is_nonlinear and 0 < len(state.candidates.members) < state.samples
    some = some and state.vote.weight > 0
    return some and gradient.one_step and context.options.joint_rounds > 0 and context.feeds_relu


def _certified(context: SearchContext, state: SearchState, gradient: LayerGradient) -> SearchState:
    """``state`` without those near members that only the search went on beside, or that are copies of
    others."""
    candidates = state.candidates
    sure = candidates.exact | candidates.joint
    near = [index for index in candidates.members if index not in sure]
    if near:
        assert state.control_minimum is not None  # near members are found relative to it
        taken = [index for index in candidates.members if index in sure]
        near = membership.certified_near_members(
            gradient, candidates.certificates, near, taken, state.control_minimum
        )
        if gradient.samples:  # a near member is no proof that there are more images than are stated
            near = near[: max(0, gradient.samples - len(taken))]
    members = [index for index in candidates.members if index in sure or index in near]
    candidates = replace(candidates, members=tuple(members))
    candidates = posterior_error.with_expected_errors(context, candidates, members, gradient.span)
    return replace(state, candidates=candidates)


def _after_several_steps(
    problem: Problem, index: int, result: TrialResult, knows_labels: bool
) -> TrialResult:
    """After several local steps a weight counts an image once a step: N is not known. The labels are the
    updated model's, unless the search ``knows_labels`` by the decoded δ. Where the number of steps is not
    stated, weights that agree show a single one."""
    is_several = not result.member_weight if problem.steps is None else problem.steps > 1
    if not is_several:
        return result
    result = replace(result, samples=0)
    if knows_labels or not problem.rounding or not len(result.images):
        return result
    return replace(result, labels=updated_labels.labels_by_updated_model(problem, index, result.images))


def _filled(results: list[TrialResult], outside: np.ndarray, public: np.ndarray) -> list[TrialResult]:
    """With the pixels ``outside`` the receptive field (bool [H, W, C]) predicted from public images, for all
    trials at once."""
    images = np.concatenate([result.images for result in results])
    filled = receptive_field.fill(images, outside, public)
    ends = np.cumsum([len(result.images) for result in results])
    parts = np.split(filled, ends[:-1])
    return [replace(result, images=part) for result, part in zip(results, parts, strict=True)]


def _read(file: Path) -> TrialResult:
    """A finished trial."""
    saved = read_npz(file)
    samples, member_weight = int(saved.pop("samples")), float(saved.pop("member_weight"))
    unexplained, notes = tuple(saved.pop("unexplained").tolist()), str(saved.pop("notes"))
    return TrialResult(
        **saved, samples=samples, member_weight=member_weight, unexplained=unexplained, notes=notes
    )


def _inversion(problem: Problem, results: list[TrialResult], seconds: float) -> Inversion:
    curves = [list(result.unexplained) or [1.0] for result in results]
    rounds = max(map(len, curves))

    def padded(column: str, name: str) -> np.ndarray:
        """A column of all results, padded as the array ``name`` of the file."""
        return inversion_files.padded([getattr(result, column) for result in results], *PADDING[name])

    certificates = {
        name: padded(name, name) for name in ("residual", "normalised_residual", "weight", "margin")
    }
    return Inversion(
        images=padded("images", "images"),
        labels=padded("labels", "labels"),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.array([curve[-1] for curve in curves]),
        accepted=padded("accepted", "accepted"),
        status=["ok"] * len(results),
        history_steps=np.arange(1, rounds + 1),
        history=np.array([curve + curve[-1:] * (rounds - len(curve)) for curve in curves], np.float32),
        seconds={"search": seconds},
        certificates={
            **certificates,
            # Over the pixels inside the receptive field; NaN: no member.
            "expected_psnr": psnr(padded("error", "expected_psnr")),
            "samples_estimated": np.array([result.samples for result in results]),
        },
        notes=[json.loads(result.notes) for result in results],
    )
