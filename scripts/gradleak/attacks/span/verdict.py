"""What the certified images of a trial prove: N, the scale, and whether the loss is the cross-entropy.

δᵀ M⁺ f of a member is N in units of the scale by which the update was divided. So weights that agree give N
only where the scale is known, and the scale where N is known. Where the loss weighs images, as by class, they
differ, and give neither. δ is that of the cross-entropy. Of a member whose client minimised another loss it
lies outside the row space under every label, so its label and its weight are not known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from gradleak.attacks.span import membership, note_kinds, thresholds
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.note_kinds import Note
from gradleak.attacks.span.search_state import SearchState, TrialResult, result_of
from gradleak.attacks.span.subspace import LayerGradient
from gradleak.attacks.span.weight_vote import Vote


@dataclass(frozen=True)
class Verdict:
    """samples: N where it is proven, else 0. count: the number of images that a joint search assumes, 0:
    unknown. factor: of the weights, 1 unless the scale is corrected. notes: what was found, and what
    contradicts what.
    """

    samples: int
    count: int
    factor: float
    notes: tuple[Note, ...]


def judge(found: Vote, stated: int, scale_confidence: float, least: int) -> Verdict:
    """What the weights prove, given the ``stated`` number of images and the confidence of the scale.

    least: a lower bound on N, by the rank and the exact members. N is proven where three agree: a scale that
    is known, the weights, and the stated number. A known scale and weights of another whole number leave two
    possibilities. Else the weights calibrate the scale: it is ``stated`` / weight times the one used.
    """
    refuted: tuple[Note, ...] = ()
    if stated < least:
        refuted = ({"kind": note_kinds.SAMPLES_REFUTED, "samples": stated, "least": least},)
    if found.differs:
        weights = (found.weight, *found.dissent)
        differ: Note = {"kind": note_kinds.WEIGHTS_DIFFER, "least": min(weights), "most": max(weights)}
        return Verdict(0, 0, 1.0, (*refuted, differ))
    if refuted or not found.weight:
        return Verdict(0, 0 if refuted else stated, 1.0, refuted)
    is_known = scale_confidence >= thresholds.STATED_SCALE
    if is_known and _is_near(found, stated):
        return Verdict(stated, stated, 1.0, ())
    factor = stated / found.weight
    if not is_known and scale_confidence >= thresholds.ESTIMATED_SCALE and _is_estimated(found, stated):
        return Verdict(stated, stated, factor, ())
    if is_known and not found.is_exact:
        return Verdict(0, stated, 1.0, ())

    def of_kind(kind: str) -> tuple[Note, ...]:
        return ({"kind": kind, "weight": found.weight, "samples": stated, "factor": factor},)

    whole = round(found.weight)
    if is_known and whole >= least and _is_near(found, whole):
        return Verdict(0, 0, 1.0, of_kind(note_kinds.SCALE_OR_SAMPLES))
    return Verdict(0, stated, factor, of_kind(note_kinds.SCALE_CORRECTED))


def _is_near(found: Vote, number: int) -> bool:
    """Whether the weight is ``number`` up to its error, and no other whole number."""
    share = thresholds.WEIGHT_DEVIATION if found.is_exact else 1.0
    off = abs(found.weight - number)
    return off < 0.5 and off < share * number + thresholds.WEIGHT_SIGMAS * found.deviation


def _is_estimated(found: Vote, number: int) -> bool:
    """Whether ``number`` alone fits the weight, up to the error of a scale that an untrained model gives.

    One voter is enough where there is one image.
    """
    error = thresholds.ESTIMATED_SCALE_ERROR * found.weight
    alone = number - 1 < found.weight - error < number < found.weight + error < number + 1
    return found.is_exact and alone and found.voters >= min(2, number)


def of_search(gradient: LayerGradient, state: SearchState, scale_confidence: float) -> Verdict:
    """The verdict on a search of one local step, whose ``gradient.samples`` images are as stated."""
    candidates, stated = state.candidates, gradient.samples
    exact, outside = _exact_and_unexpected(candidates.certificates, list(candidates.members))
    sure = len(candidates.exact_members)
    found = judge(state.vote, stated, scale_confidence, max(gradient.span.rank, sure))
    if stated >= max(sure, _rank_of_images(gradient)):  # else the rank may be that of an optimizer
        refuted = note_kinds.SAMPLES_REFUTED
        found = replace(found, notes=tuple(note for note in found.notes if note["kind"] != refuted))
    if found.samples < len(candidates.members):
        found = replace(found, samples=0)
    if 2 * outside > exact:
        note: Note = {"kind": note_kinds.LOSS_UNEXPECTED, "images": outside, "of": exact}
        return replace(found, samples=0, count=0, notes=(*found.notes, note))
    if found.samples and 2 * sure <= stated and not gradient.without(candidates.exact_deltas).rank:
        fewer: Note = {"kind": note_kinds.EXPLAINED_BY_FEWER, "images": sure, "samples": stated}
        return replace(found, samples=0, notes=(*found.notes, fewer))
    return found


def _rank_of_images(gradient: LayerGradient) -> int:
    """The rank of M where it bounds the number of images, else 0: Adam's steps, and noise, fill the rows and
    columns that are not zero."""
    nonzero = gradient.matrix != 0
    full = min(nonzero.any(axis=1).sum(), nonzero.any(axis=0).sum())
    return gradient.span.rank if gradient.span.rank < full else 0


def _exact_and_unexpected(certificates: Certificates, members: list[int]) -> tuple[int, int]:
    """How many ``members`` have a feature in the span to the noise; and how many of these no δ of the
    cross-entropy."""
    exact = (certificates.normalised_residual < thresholds.NORMALISED_RESIDUAL)[members]
    unexpected = exact & ~membership.has_expected_delta(certificates)[members]
    return int(exact.sum()), int(unexpected.sum())


def result_with(found: Verdict, state: SearchState) -> TrialResult:
    """The result of ``state`` with N, with weights in the corrected scale, and without the labels that an
    unexpected loss leaves open."""
    candidates = state.candidates
    if any(note["kind"] == note_kinds.LOSS_UNEXPECTED for note in found.notes):
        known = membership.has_expected_delta(candidates.certificates)
        candidates = replace(candidates, unlabelled=frozenset(np.flatnonzero(~known).tolist()))
    result = result_of(replace(state, candidates=candidates))
    notes = json.dumps(found.notes)
    return replace(result, weight=result.weight * found.factor, samples=found.samples, notes=notes)
