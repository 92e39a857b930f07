"""The mapping of a block of draws: which tensor is which variable, sign, scale, optimiser and rank.

Every finding has a value, a confidence and its evidence. If one cannot be determined, MappingError has the
reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.artifacts.leak import Leak
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.alignment import Aligned, align, layer_index
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import Public, logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import UNKNOWN, Finding
from gradleak.mapping.findings import Findings, report
from gradleak.mapping.optimizer import common_optimizer, find_optimizer, sums_vanish
from gradleak.mapping.perturbations import Perturbations, find_perturbations
from gradleak.mapping.ranks import Errors, lower_bound, rank_kernels, read_once
from gradleak.mapping.samples import count, find_samples
from gradleak.mapping.scale import absent_class_scale, find_scale, positive
from gradleak.mapping.sign import Entries, draw_evidence, find_sign, places_of, sign_evidence
from gradleak.mapping.smoothing import find_smoothing
from gradleak.mapping.weights import find_weights

if TYPE_CHECKING:
    import keras

COARSE_BITS = 6  # of quantised entries, up to which most of a kernel's entries are rounded to zero


@dataclass(frozen=True)
class Mapping:
    """The mapping of D draws with L trainable variables.

    model: with a linear output (logits) and the weights of the round. gradients: pseudo-gradients in the
    order of ``model.trainable_variables``, float32 [D, *shape], the mean over the samples. layer: layer index
    of each variable [L], 0 is the first. samples: images behind each update. steps: local steps, None if the
    metadata do not state them. public_softmax: mean softmax of public images by true class [C, C]. rounding:
    standard deviation of a gradient's rounding error in units of the root mean square of its variable, since
    float32 weights were subtracted. noise: standard deviation of other errors of each variable's gradient
    [L], by the findings on noise, number format and dropped entries. report: findings with evidence, JSON
    types only. singular: singular values of every dense kernel's delta, name → float64 [D, K]. floor: name →
    float64 [D], see ``Ranks``.
    """

    model: keras.Model
    gradients: list[np.ndarray]
    layer: np.ndarray
    samples: int
    steps: int | None
    public_softmax: np.ndarray
    rounding: float
    noise: np.ndarray
    report: dict[str, Any]
    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]


def settle(
    leaks: list[Leak], public_x: np.ndarray, public_y: np.ndarray, claims: UserClaims | None = None
) -> Mapping:
    """Map a block of draws that share a model. public_x: float32 [P, H, W, C]. public_y: int [P]."""
    model, head = logits_model(leaks[0].model_json)
    if tuple(model.input_shape[1:]) != public_x.shape[1:]:
        raise MappingError(
            f"the model takes images {model.input_shape[1:]}, the public data set has {public_x.shape[1:]}; "
            "choose another `dataset`"
        )
    aligned = align(leaks, model)
    public = look_at(model, public_x, public_y)
    meta = leaks[0].meta
    weight = _client_weight(meta)
    perturbations, deltas = find_perturbations(
        aligned.deltas, aligned.before, weight, places_of(aligned.deltas)
    )
    aligned = replace(aligned, deltas=deltas)
    findings = _findings(model, aligned, public, perturbations, meta, claims or UserClaims())
    scale = findings.scale.value
    factor = _direction(findings.sign.value)
    gradients = [(-factor / scale * d).astype(np.float32) for d in aligned.deltas]
    return Mapping(
        model=model,
        gradients=gradients,
        layer=layer_index(model),
        samples=findings.samples.value,
        steps=count(meta.get("local_steps")),
        public_softmax=public.softmax,
        rounding=FLOAT32_ROUNDING * weight / scale,
        noise=perturbations.errors / scale,
        report=report(findings, head, aligned, gradients, leaks[0]),
        singular=findings.ranks.singular,
        floor=findings.ranks.floor,
    )


def _findings(
    model: keras.Model,
    aligned: Aligned,
    public: Public,
    perturbations: Perturbations,
    meta: dict,
    claims: UserClaims,
) -> Findings:
    """All findings, each from those before it."""
    deltas, before, weight = aligned.deltas, aligned.before, _client_weight(meta)
    optimizer, entries = _entries(aligned, perturbations, weight, meta)
    entries = replace(entries, samples=count(claims.samples or meta.get("samples")))
    draws = draw_evidence(deltas, public, entries)
    sign = find_sign(sign_evidence(deltas, public, entries, draws), claims.sign, meta)
    estimate = absent_class_scale(deltas, _direction(sign.value), public)
    scale = find_scale(estimate, claims.scale, meta)
    steps = count(meta.get("local_steps"))
    errors = Errors(perturbations.errors, perturbations.precision.rounding, steps)
    ranks = rank_kernels(model.trainable_variables, deltas, before, weight, errors)
    bound = lower_bound(ranks.rows, read_once(model), optimizer.value, perturbations.adds_to_rank)
    return Findings(
        weights=find_weights(public),
        sign=sign,
        scale=scale,
        samples=find_samples(claims.samples, meta, bound),
        optimizer=optimizer,
        smoothing=find_smoothing([one.smoothing for one in draws], len(public.softmax), scale),
        perturbations=perturbations,
        ranks=ranks,
        bound=bound,
    )


def _entries(
    aligned: Aligned, perturbations: Perturbations, weight: float, meta: dict
) -> tuple[Finding, Entries]:
    """The optimiser's family, and what is known about the entries before their sign is."""
    deltas, before = aligned.deltas, aligned.before
    place, _ = places_of(deltas)
    error, hides = float(perturbations.errors[place]), perturbations.hides_sums
    families = [
        find_optimizer([d[i] for d in deltas], before, weight, hides, error) for i in range(len(deltas[0]))
    ]
    optimizer = common_optimizer(families, meta.get("optimizer"))
    sums_hold = (
        optimizer.value != UNKNOWN
        or perturbations.adds_to_rank
        or all(sums_vanish(one, before[place], weight, error) for one in deltas[place])
    )
    coarse = bool(perturbations.noise.value or perturbations.quantisation.value)
    # With few levels, whole columns keep their largest entries only.
    lost = 0 < perturbations.quantisation.value <= COARSE_BITS
    entries = Entries(
        before=before,
        adaptive=optimizer.value == "adam" or perturbations.quantisation.value == 1,
        noise=error if coarse else 0.0,
        sums_hold=sums_hold,
        dropped=bool(perturbations.sparsity.value) or lost,
        shrinks=perturbations.decay.direction,
    )
    return optimizer, entries


def _client_weight(meta: dict) -> float:
    """The factor of the delta after the subtraction, by the (untrusted) metadata."""
    return positive(meta.get("client_weight")) or 1.0


def _direction(sign: str) -> float:
    return 1.0 if sign == "after_minus_before" else -1.0
