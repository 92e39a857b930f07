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
from gradleak.mapping import batch_statistics, suspicions
from gradleak.mapping.alignment import Aligned, align, layer_index
from gradleak.mapping.batch_norm import (
    INFERENCE,
    NONE,
    coupled_layers,
    find_batch_norm,
    layer_modes,
)
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import Public, logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Finding
from gradleak.mapping.findings import Findings, report
from gradleak.mapping.optimizer import common_optimizer, find_optimizer
from gradleak.mapping.ranks import rank_kernels
from gradleak.mapping.samples import count, find_samples
from gradleak.mapping.scale import absent_class_scale, find_scale, positive
from gradleak.mapping.sign import find_sign, sign_evidence
from gradleak.mapping.weights import find_weights

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Mapping:
    """The mapping of D draws with L trainable variables.

    model: with a linear output (logits) and the weights of the round; where the statistics of the batch were
    recovered, they stand in the place of the moving statistics. coupled: names of the BatchNormalization
    layers that normalised by the batch. has_statistics: whether those of the batch were recovered. gradients:
    pseudo-gradients in the order of ``model.trainable_variables``, float32 [D, *shape], the mean over the
    samples. layer: layer index
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
    coupled: tuple[str, ...]
    has_statistics: bool


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
    meta = leaks[0].meta
    public = look_at(model, public_x, public_y)
    claims = claims or UserClaims()
    findings = _findings(model, aligned, public, meta, claims)
    if findings.coupled:
        findings = replace(findings, statistics=_statistics(model, aligned, findings, leaks[0]))
        batch_statistics.put(model, findings.statistics)
    if findings.statistics.values:  # of the network that the client evaluated, no longer that of the server
        public = look_at(model, public_x, public_y)
        findings = replace(findings, scale=_scale(aligned, findings.sign, public, claims, meta))
    weight, scale = _client_weight(meta), findings.scale.value
    factor = _direction(findings.sign.value)
    gradients = [(-factor / scale * d).astype(np.float32) for d in aligned.deltas]
    added = suspicions.standard_deviations(
        aligned.deltas, findings.noise, findings.precision, findings.sparsity
    )
    return Mapping(
        model=model,
        gradients=gradients,
        layer=layer_index(model),
        samples=findings.samples.value,
        steps=count(meta.get("local_steps")),
        public_softmax=public.softmax,
        rounding=FLOAT32_ROUNDING * weight / scale,
        noise=added / scale,
        report=report(findings, head, aligned, gradients, leaks[0]),
        singular=findings.ranks.singular,
        floor=findings.ranks.floor,
        coupled=tuple(findings.coupled),
        has_statistics=bool(findings.statistics.values),
    )


def _findings(
    model: keras.Model, aligned: Aligned, public: Public, meta: dict, claims: UserClaims
) -> Findings:
    """All findings, each from those before it."""
    deltas, before, weight = aligned.deltas, aligned.before, _client_weight(meta)
    precision = suspicions.find_precision(deltas)
    noise = suspicions.find_noise(deltas, before, weight)
    of_draws = [
        find_optimizer([d[i] for d in deltas], before, weight, bool(noise.value))
        for i in range(len(deltas[0]))
    ]
    optimizer = common_optimizer(of_draws, meta.get("optimizer"))
    sparsity = suspicions.find_sparsity(deltas)
    modes = layer_modes(model, aligned, optimizer.value, noise.value, weight, bool(sparsity.value))
    batch_norm = find_batch_norm(modes, claims.batch_norm, meta)
    is_known = batch_norm.value in (INFERENCE, NONE)
    evidence = sign_evidence(deltas, public, optimizer.value == "adam", noise.value, is_known)
    sign = find_sign(evidence, claims.sign, meta)
    assert precision.rounding is not None  # find_precision gives it with every format
    ranks = rank_kernels(model.trainable_variables, deltas, before, weight, noise.value, precision.rounding)
    return Findings(
        weights=find_weights(public),
        sign=sign,
        scale=_scale(aligned, sign, public, claims, meta, is_known),
        samples=find_samples(claims.samples, meta, ranks.rows, optimizer.value),
        optimizer=optimizer,
        noise=noise,
        precision=precision,
        clipping=suspicions.find_clipping(deltas),
        sparsity=sparsity,
        batch_norm=batch_norm,
        coupled=coupled_layers(modes, batch_norm.value),
        ranks=ranks,
    )


def _scale(
    aligned: Aligned, sign: Finding, public: Public, claims: UserClaims, meta: dict, is_known: bool = True
) -> Finding:
    """The scale. is_known: ``public`` is of the network that the client evaluated."""
    estimate = absent_class_scale(aligned.deltas, _direction(sign.value), public.softmax)
    return find_scale(estimate, public.softmax, claims.scale, meta, is_known)


def _statistics(
    model: keras.Model, aligned: Aligned, findings: Findings, leak: Leak
) -> batch_statistics.Recovered:
    """The statistics of the batch, for a client in training mode."""
    if findings.noise.value or findings.sparsity.value:
        return batch_statistics.Recovered({}, "noise or dropped entries hide the moving statistics")
    is_exact = findings.optimizer.value == "sgd" and findings.precision.value == "float32"
    how = batch_statistics.protocol(
        leak, _direction(findings.sign.value), findings.samples.value, is_exact, bool(findings.clipping.value)
    )
    return batch_statistics.recover(model, aligned, findings.coupled, how)


def _client_weight(meta: dict) -> float:
    """The factor of the delta after the subtraction, by the (untrusted) metadata."""
    return positive(meta.get("client_weight")) or 1.0


def _direction(sign: str) -> float:
    return 1.0 if sign == "after_minus_before" else -1.0
