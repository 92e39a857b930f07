"""The mapping of a block of draws: which tensor is which variable, sign, scale, optimiser and rank.

Every finding has a value, a confidence and its evidence. If one cannot be determined, MappingError has the
reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.artifacts.leak import Leak
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping import metadata, suspicions, weights
from gradleak.mapping.alignment import Aligned, align, layer_index
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import Public, logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.findings import Findings, report
from gradleak.mapping.head import Head
from gradleak.mapping.optimizer import common_optimizer, find_optimizer
from gradleak.mapping.ranks import rank_kernels
from gradleak.mapping.samples import find_samples
from gradleak.mapping.scale import absent_class_scale, find_scale
from gradleak.mapping.sign import find_sign, sign_evidence

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Mapping:
    """The mapping of D draws with L trainable variables.

    model: with a linear output (logits) and the weights of the round. gradients: pseudo-gradients in the
    order of ``model.trainable_variables``, float32 [D, *shape], the mean over the samples. layer: layer index
    of each variable [L], 0 is the first. samples: images behind each update. steps: local steps, None if the
    metadata do not state them. head: the last dense layer, or None, and no_head the reason. public_softmax:
    mean softmax of public images by true class [C, C]. rounding: standard deviation of a gradient's rounding
    error in units of the root mean square of its variable, since float32 weights were subtracted. noise:
    standard deviation of other errors of each variable's gradient [L], by the findings on noise, number
    format and dropped entries. report: findings with evidence, JSON types only. singular: singular values of
    every dense kernel's delta, name → float64 [D, K]. floor: name → float64 [D], see ``Ranks``.
    scale_confidence: of the finding on the scale, from 0 to 1.
    """

    model: keras.Model
    gradients: list[np.ndarray]
    layer: np.ndarray
    samples: int
    steps: int | None
    head: Head | None
    no_head: str
    public_softmax: np.ndarray
    rounding: float
    noise: np.ndarray
    report: dict[str, Any]
    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]
    scale_confidence: float


def settle(
    leaks: list[Leak], public_x: np.ndarray, public_y: np.ndarray, claims: UserClaims | None = None
) -> Mapping:
    """Map a block of draws that share a model. public_x: float32 [P, H, W, C]. public_y: int [P].

    Raises MappingError with the reason if the update cannot be mapped, or is zero.
    """
    model, output = logits_model(leaks[0].model_json, public_x.shape[1:])
    classes = model.output_shape[-1]
    if public_y.max(initial=0) >= classes:
        raise MappingError(
            f"the model has {classes} classes, the public data set {public_y.max() + 1}; "
            "choose another `dataset`"
        )
    aligned = align(leaks, model)
    if not any(np.any(delta) for delta in aligned.deltas):
        raise MappingError(
            "the update is zero in every entry, so it says nothing about any image: check that the weights "
            "after the round were not subtracted from themselves"
        )
    public = look_at(model, public_x, public_y)
    claims = claims or UserClaims()
    doubt = weights.doubt(model, aligned.missing_weights, public, public_x, public_y)
    stated = metadata.read(leaks[0].meta, claims.samples)
    findings = _findings(model, aligned, public, stated.values, claims, doubt)
    weight, scale = stated.client_weight or 1.0, findings.scale.value
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
        steps=stated.local_steps,
        head=public.head,
        no_head=public.no_head,
        public_softmax=public.softmax,
        rounding=FLOAT32_ROUNDING * weight / scale,
        noise=added / scale,
        report=report(findings, output, aligned, gradients, leaks[0], stated),
        singular=findings.ranks.singular,
        floor=findings.ranks.floor,
        scale_confidence=findings.scale.confidence,
    )


def _findings(
    model: keras.Model, aligned: Aligned, public: Public, meta: dict, claims: UserClaims, doubt: str
) -> Findings:
    """All findings, each from those before it. meta: of ``Metadata.values``. doubt: of ``weights.doubt``."""
    deltas, before, weight = aligned.deltas, aligned.before, meta.get("client_weight") or 1.0
    precision = suspicions.find_precision(deltas)
    noise = suspicions.find_noise(deltas, before, public.head, weight)
    of_draws = [
        find_optimizer([d[i] for d in deltas], before, public.head, weight, bool(noise.value))
        for i in range(len(deltas[0]))
    ]
    optimizer = common_optimizer(of_draws, meta.get("optimizer"))
    evidence = sign_evidence(deltas, public, optimizer.value == "adam", noise.value)
    sign = find_sign(evidence, claims.sign, meta)
    estimate = absent_class_scale(deltas, public.head, _direction(sign.value), public.softmax)
    scale = find_scale(estimate, public.softmax, claims.scale, meta)
    assert precision.rounding is not None  # find_precision gives it with every format
    ranks = rank_kernels(model.trainable_variables, deltas, before, weight, noise.value, precision.rounding)
    return Findings(
        weights=weights.find_weights(public, doubt),
        sign=sign,
        scale=scale,
        samples=find_samples(claims.samples, meta, ranks.rows, optimizer.value),
        optimizer=optimizer,
        noise=noise,
        precision=precision,
        clipping=suspicions.find_clipping(deltas),
        sparsity=suspicions.find_sparsity(deltas),
        ranks=ranks,
        doubt=doubt,
    )


def _direction(sign: str) -> float:
    return 1.0 if sign == "after_minus_before" else -1.0
