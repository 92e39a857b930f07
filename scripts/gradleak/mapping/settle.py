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
from gradleak.losses import BINARY, CATEGORICAL, MEAN, SUM, TOWARDS_TARGET, Loss, loss_named
from gradleak.mapping import batch_statistics, metadata, suspicions, weights
from gradleak.mapping.alignment import Aligned, align, layer_index
from gradleak.mapping.batch_norm import (
    INFERENCE,
    NONE,
    coupled_layers,
    find_batch_norm,
    layer_modes,
)
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import Classifier, Public, look_at, read_classifier
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.findings import Findings, report
from gradleak.mapping.head import SIGMOIDS, Head
from gradleak.mapping.loss import Statements, find_loss, single_images
from gradleak.mapping.metadata import images
from gradleak.mapping.optimizer import common_optimizer, find_optimizer, sums_vanish
from gradleak.mapping.perturbations import Perturbations, find_perturbations
from gradleak.mapping.ranks import Errors, lower_bound, rank_kernels, read_once
from gradleak.mapping.samples import find_samples
from gradleak.mapping.scale import ERROR_FLAT, Estimate, absent_class_scale, find_scale
from gradleak.mapping.sign import Entries, draw_evidence, find_sign, sign_evidence
from gradleak.mapping.smoothing import find_smoothing
from gradleak.mapping.without_public import look_at_noise

if TYPE_CHECKING:
    import keras

EXACTLY = 0.95  # confidence of a smoothing that follows from a single image
SAME_SMOOTHING = 0.005  # two ε that count as one
COARSE_BITS = 6  # of quantised entries, up to which most of a kernel's entries are rounded to zero


@dataclass(frozen=True)
class Mapping:
    """The mapping of D draws with L trainable variables.

    model: with a linear output (logits) and the weights of the round; where the statistics of the batch were
    recovered, they stand in the place of the moving statistics. coupled: names of the BatchNormalization
    layers that normalised by the batch. has_statistics: whether those of the batch were recovered. gradients:
    pseudo-gradients in the order of ``model.trainable_variables``, float32 [D, *shape], the mean over the
    samples. layer: layer index
    of each variable [L], 0 is the first. samples: images behind each update. steps: local steps, None if the
    metadata do not state them. head: the last dense layer, or None, and no_head the reason. public_softmax:
    mean softmax of public images by true class [C, C]. rounding: standard deviation of a gradient's rounding
    error in units of the root mean square of its variable, since float32 weights were subtracted. noise:
    standard deviation of other errors of each variable's gradient [L], by the findings on noise, number
    format and dropped entries. report: findings with evidence, JSON types only. singular: singular values of
    every dense kernel's delta, name → float64 [D, K]. floor: name → float64 [D], see ``Ranks``.
    scale_confidence: of the finding on the scale, from 0 to 1. coupled: names of the BatchNormalization
    layers that normalised by the batch. has_statistics: whether those of the batch were recovered; then they
    stand in the place of the moving statistics in the model. loss: of the model's logits, see
    ``MappedBlock``.
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
    coupled: tuple[str, ...]
    has_statistics: bool
    loss: str = CATEGORICAL


def settle(
    leaks: list[Leak],
    public_x: np.ndarray | None,
    public_y: np.ndarray | None,
    claims: UserClaims | None = None,
) -> Mapping:
    """Map a block of draws that share a model. public_x: float32 [P, H, W, C]. public_y: int [P], or
    multi-hot [P, K].

    Without public images (None, or P = 0) what rests on them abstains; the shape of an image is that of
    ``public_x``, else of ``claims.input_shape``, else of the model. Raises MappingError with the reason if
    the update cannot be mapped, or is zero.
    """
    claims = claims or UserClaims()
    classifier = _classifier(leaks[0].model_json, public_x, claims)
    model = classifier.model
    public_x, public_y = _given(public_x, public_y, model)
    aligned = align(leaks, model)
    stated = metadata.read(leaks[0].meta, claims.samples)
    weight = stated.client_weight or 1.0
    loss = find_loss(classifier, aligned, weight, Statements(claims.loss, stated.loss))
    sigmoids = loss_named(loss.value).name == BINARY and not classifier.is_unit
    _refuse(model, aligned, public_y, sigmoids)
    public = _looked_at(model, public_x, public_y, sigmoids)
    public = replace(public, doubt=weights.doubt(model, aligned.missing_weights, public, public_x, public_y))
    claims = replace(claims, loss=loss.value)
    perturbations, deltas = find_perturbations(aligned.deltas, aligned.before, weight, public.head)
    aligned = replace(aligned, deltas=deltas)
    findings = _findings(model, aligned, public, perturbations, stated.values, claims)
    findings = replace(findings, loss=_with_smoothing(loss, findings.smoothing, classifier))
    if findings.coupled:
        findings = replace(findings, statistics=_statistics(model, aligned, findings, stated))
    if findings.statistics.values:  # the network that the client evaluated, no longer that of the server
        batch_statistics.put(model, findings.statistics)
        public = _looked_at(model, public_x, public_y, sigmoids)
        findings = replace(findings, scale=_scale(aligned, public, findings.sign, claims, stated.values))
    size = findings.scale.value
    gradients = _gradients(aligned, findings)
    return Mapping(
        model=model,
        gradients=gradients,
        layer=layer_index(model),
        samples=findings.samples.value,
        steps=stated.local_steps,
        head=public.head,
        no_head=public.no_head,
        public_softmax=public.softmax,
        rounding=FLOAT32_ROUNDING * weight / size,
        noise=perturbations.errors / size,
        report=report(findings, classifier.changes, aligned, gradients, leaks[0], stated),
        singular=findings.ranks.singular,
        floor=findings.ranks.floor,
        scale_confidence=_confidence(findings),
        coupled=tuple(findings.coupled),
        has_statistics=bool(findings.statistics.values),
        loss=_of_logits(findings.loss, classifier),
    )


def _gradients(aligned: Aligned, findings: Findings) -> list[np.ndarray]:
    factor = -_direction(findings.sign.value) / findings.scale.value
    return [(factor * d).astype(np.float32) for d in aligned.deltas]


def _confidence(findings: Findings) -> float:
    """Of the scale; 0 for a weighted mean, since the sum of the weights of the batch is not known."""
    loss = loss_named(findings.loss.value)
    return 0.0 if loss.weights and loss.reduction == MEAN else findings.scale.confidence


def _of_logits(loss: Finding, classifier: Classifier) -> str:
    """The loss of one image at the model's logits: of one sigmoid unit that of the softmax of two."""
    found = loss_named(loss.value)
    if classifier.is_unit:
        return CATEGORICAL
    return BINARY if found.name == BINARY else found.of_one_image.text


def _with_smoothing(loss: Finding, smoothing: Finding, classifier: Classifier) -> Finding:
    """The loss with the smoothing that a single image shows exactly, unless the user claims another."""
    one, is_exact = loss_named(loss.value), smoothing.confidence >= EXACTLY and smoothing.value is not None
    if classifier.is_unit or one.name != CATEGORICAL or one.weights or not is_exact or loss.confidence == 1:
        return loss
    found = replace(one, smoothing=round(float(smoothing.value), 4))
    if abs(found.smoothing - one.smoothing) <= SAME_SMOOTHING:
        return loss
    refuted = (Contradiction("metadata", one.text, "update", found.text),) if one.smoothing else ()
    evidence = f"{loss.evidence}; {smoothing.evidence}"
    return replace(loss, value=found.text, evidence=evidence, contradicts=(*loss.contradicts, *refuted))


def _classifier(model_json: str, public_x: np.ndarray | None, claims: UserClaims) -> Classifier:
    """The classifier that takes images."""
    if public_x is not None:
        return read_classifier(model_json, public_x.shape[1:])
    shape = claims.input_shape
    return read_classifier(model_json, None if shape is None else tuple(shape), is_stated=True)


def _given(x: np.ndarray | None, y: np.ndarray | None, model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The public images and their classes, of which there may be none."""
    if x is None or y is None:
        return np.zeros((0, *model.input_shape[1:]), np.float32), np.zeros(0, np.int64)
    return x, y


def _looked_at(model: keras.Model, public_x: np.ndarray, public_y: np.ndarray, sigmoids: bool) -> Public:
    return look_at(model, public_x, public_y, sigmoids) if len(public_x) else look_at_noise(model, sigmoids)


def _refuse(model: keras.Model, aligned: Aligned, public_y: np.ndarray, sigmoids: bool) -> None:
    """Raise MappingError if the model's classes are not those of the public images, or the update is zero."""
    classes = model.output_shape[-1]
    if public_y.ndim == 2 and not (sigmoids and public_y.shape[1] == classes):
        raise MappingError(
            f"public images have any number of {public_y.shape[1]} labels, and the model is not one of as "
            "many sigmoids; choose another `dataset`"
        )
    if public_y.ndim == 1 and public_y.max(initial=0) >= classes:
        raise MappingError(
            f"the model has {classes} classes, the public data set {public_y.max() + 1}; "
            "choose another `dataset`, one of your own images, or `dataset: none`"
        )
    if not any(np.any(delta) for delta in aligned.deltas):
        raise MappingError(
            "the update is zero in every entry, so it says nothing about any image: check that the weights "
            "after the round were not subtracted from themselves"
        )


def _findings(
    model: keras.Model,
    aligned: Aligned,
    public: Public,
    perturbations: Perturbations,
    meta: dict,
    claims: UserClaims,
) -> Findings:
    """All findings, each from those before it. meta: of ``Metadata.values``."""
    deltas, before, weight = aligned.deltas, aligned.before, meta.get("client_weight") or 1.0
    optimizer, entries = _entries(aligned, public.head, perturbations, meta)
    unshown = _unshown(loss_named(claims.loss), optimizer.value)
    entries = replace(entries, samples=claims.samples or images(meta)[0], unshown=unshown)
    is_sparse = bool(perturbations.sparsity.value)
    modes = layer_modes(model, aligned, optimizer.value, perturbations.noise.value, weight, is_sparse)
    batch_norm = find_batch_norm(modes, claims.batch_norm, meta)
    public = replace(public, is_known=batch_norm.value in (INFERENCE, NONE))
    draws = draw_evidence(deltas, public, entries)
    sign = find_sign(sign_evidence(deltas, public, entries, draws), claims.sign, meta)
    scale = _scale(aligned, public, sign, claims, meta)
    floor = perturbations.errors
    if optimizer.value == "sgd":
        floor = np.maximum(floor, suspicions.unexplained_error(deltas, before, public.head, weight))
    errors = Errors(floor, perturbations.precision.rounding, meta.get("local_steps"))
    ranks = rank_kernels(model.trainable_variables, deltas, before, weight, errors)
    bound = lower_bound(ranks.rows, read_once(model), optimizer.value, perturbations.adds_to_rank)
    return Findings(
        weights=weights.find_weights(public),
        sign=sign,
        scale=scale,
        samples=find_samples(claims.samples, meta, bound),
        optimizer=optimizer,
        smoothing=find_smoothing([one.smoothing for one in draws], len(public.softmax), scale),
        perturbations=perturbations,
        batch_norm=batch_norm,
        coupled=coupled_layers(modes, batch_norm.value),
        ranks=ranks,
        bound=bound,
        doubt=public.doubt,
    )


def _unshown(loss: Loss, optimizer: str) -> str:
    """Why the columns of the last layer show no sign under this loss, or ''. optimizer: the family."""
    if loss.smoothing and optimizer == "adam":
        return "smoothed labels turn columns around, which steps of one size do not show"
    if loss.name in (*TOWARDS_TARGET, BINARY):
        return ""
    return f"the columns of absent classes have no one sign under the loss {loss.text}"


def _entries(
    aligned: Aligned, head: Head | None, perturbations: Perturbations, meta: dict
) -> tuple[Finding, Entries]:
    """The optimiser's family, and what is known about the entries before their sign is."""
    deltas, before, weight = aligned.deltas, aligned.before, meta.get("client_weight") or 1.0
    error = float(perturbations.errors[head.kernel_index]) if head else 0.0
    families = [
        find_optimizer([d[i] for d in deltas], before, head, weight, perturbations.hides_sums, error)
        for i in range(len(deltas[0]))
    ]
    optimizer = common_optimizer(families, meta.get("optimizer"))
    sums_hold = (
        optimizer.value != UNKNOWN
        or perturbations.adds_to_rank
        or head is None
        or not head.has_sums
        or all(
            sums_vanish(one, before[head.kernel_index], weight, error) for one in deltas[head.kernel_index]
        )
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


def _statistics(
    model: keras.Model, aligned: Aligned, findings: Findings, stated: metadata.Metadata
) -> batch_statistics.Recovered:
    """The statistics of the batch, for a client in training mode."""
    changed = findings.perturbations
    if changed.adds_to_rank:
        why = "noise, quantisation, clipping by entry or dropped entries hide the moving statistics"
        return batch_statistics.Recovered({}, why)
    is_exact = findings.optimizer.value == "sgd" and changed.precision.value == "float32"
    how = batch_statistics.protocol(
        stated,
        _direction(findings.sign.value),
        findings.samples.value,
        is_exact,
        bool(changed.clipping.value),
    )
    return batch_statistics.recover(model, aligned, findings.coupled, how)


def _scale(aligned: Aligned, public: Public, sign: Finding, claims: UserClaims, meta: dict) -> Finding:
    """The scale. Of one sigmoid a class single images alone show it: K times the size of σ − y."""
    loss = loss_named(claims.loss)
    if loss.name != BINARY and not _has_mean_softmax(loss):
        estimate = None
    elif public.head is None or public.head.output != SIGMOIDS:
        estimate = absent_class_scale(aligned.deltas, public, _direction(sign.value))
    else:
        sizes = [one.size for one in single_images(aligned.deltas, aligned.before, public.head) if one]
        size = len(public.softmax) * float(np.median(sizes)) if sizes else 0.0
        estimate = Estimate(size, ERROR_FLAT) if sizes else None
    batch = meta.get("batch_size") or claims.samples or images(meta)[0]
    factor = None if loss.reduction == SUM and not batch else loss.scale(batch or 1, len(public.softmax))
    return find_scale(estimate, claims.scale, meta, public.has_images, factor)


def _has_mean_softmax(loss: Loss) -> bool:
    """Whether the bias of an absent class has the mean softmax as gradient, up to the scale."""
    return loss.name == CATEGORICAL and not loss.smoothing and (not loss.weights or loss.reduction == MEAN)


def _direction(sign: str) -> float:
    return 1.0 if sign == "after_minus_before" else -1.0
