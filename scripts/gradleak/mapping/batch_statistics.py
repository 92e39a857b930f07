"""The mean and the variance of the client's batch at each BatchNormalization layer, from the update.

A moving statistic s becomes m s + (1 − m) t after a step on a batch with the statistic t. So its delta of one
step, with the direction and the client weight taken off, is (1 − m) (t − s). Images evaluated with t in the
place of s have the activations that they had on the client. Attacks with statistics of the batch: Huang et
al. 2021 (doi:10.48550/arXiv.2112.00059), Hatamizadeh et al. 2023 (doi:10.48550/arXiv.2202.06924).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.alignment import Aligned
from gradleak.mapping.batch_norm import gradient_relation, holds_values, norm_layers
from gradleak.mapping.metadata import Metadata

if TYPE_CHECKING:
    import keras

KEPT = 0.99  # by Keras where the model does not say otherwise: Keras's default momentum
KEPT_BY_TORCH = 0.9  # 1 − momentum of PyTorch, whose default is 0.1
# Relative error of Σ u ∂L/∂u (``Relation.misfit``) above which statistics are refused. A right variance
# leaves rounding; a momentum or a number of steps that is wrong by a factor of 2 leaves about 1/2.
MISFIT = 0.25


@dataclass(frozen=True)
class Protocol:
    """How a statistic of the batch became a delta.

    direction: 1 for after − before, else −1. weight: factor of the client. steps: local steps. kept: share of
    a moving statistic that a step keeps, None if it is not stated. images: in one step. is_exact: the
    gradients are those of one step of SGD in float32, so that they can confirm a variance. is_clipped: a
    factor is unknown, so they must confirm it.
    """

    direction: float
    weight: float
    steps: int
    kept: float | None
    images: int
    is_exact: bool
    is_clipped: bool = False


@dataclass(frozen=True)
class Recovered:
    """values: of each moving statistic, its path → float32 [C]; empty where they cannot be recovered.

    why: the evidence, or the reason and the remedy. is_confirmed: the gradients show the same variance.
    """

    values: dict[str, np.ndarray]
    why: str
    is_confirmed: bool = False


NOT_NEEDED = Recovered({}, "no layer normalised by the statistics of the batch")


def protocol(stated: Metadata, direction: float, samples: int, is_exact: bool, is_clipped: bool) -> Protocol:
    """The protocol by the metadata. samples: behind the update. is_exact: apart from the number of steps.
    Others: as of ``Protocol``.
    """
    steps, images = stated.local_steps or 1, stated.batch_size or samples
    return Protocol(
        direction,
        stated.client_weight or 1.0,
        steps,
        stated.batch_norm_momentum,
        min(images, samples),
        is_exact and steps == 1,
        is_clipped,
    )


def recover(model: keras.Model, aligned: Aligned, coupled: list[str], how: Protocol) -> Recovered:
    """The statistics of the batch at the layers ``coupled``, for a block of one draw.

    After several steps they are means over the steps. Nothing is returned that the update contradicts: a
    variance below zero, or one that the gradients refute.
    """
    layers = [layer for layer in norm_layers(model) if layer.name in coupled]
    moving = [v.path for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    if len(aligned.deltas[0]) > 1:
        return Recovered({}, "each draw has its own statistics: map one draw at a time")
    if any(path not in aligned.untrained for path in moving):
        return Recovered({}, "the update does not hold the moving statistics of every layer")
    if any(path in aligned.missing_weights for path in moving):
        return Recovered({}, "the weights before the round lack the moving statistics: add them to the file")
    if any(holds_values(layer, aligned) for layer in layers):
        return Recovered({}, "the update holds moving statistics, not their change: subtract those before")
    if not any(np.any(aligned.untrained[path]) for path in moving):
        return Recovered({}, "the moving statistics of the update are all zero")
    candidates = {kept: _solved(layers, aligned, how, kept) for kept in _momenta(layers, aligned, how)}
    possible = {kept: values for kept, values in candidates.items() if values}
    tried = ", ".join(f"{kept or 'of the model'}" for kept in candidates)
    if not possible:
        return Recovered(
            {},
            f"a variance of the batch would be below zero with a momentum of {tried} in {how.steps} steps: "
            "state `batch_norm_momentum`, `local_steps` and `client_weight` in the metadata",
        )
    if len(possible) > 1:
        return Recovered(
            {},
            f"momenta of {tried} are possible: state `batch_norm_momentum` (the share that a step keeps) "
            "in the metadata",
        )
    (values,) = possible.values()
    # A model of PyTorch's in Keras's format may have Keras's ε, on which the relation depends.
    is_exact = how.is_exact and (aligned.layout == "keras" or aligned.is_exported)
    misfits = _misfits(model, layers, aligned, values, how.weight) if is_exact else []
    if how.is_clipped and not misfits:
        return Recovered({}, "the update is probably clipped, by a factor that is not known")
    if misfits and max(misfits) > MISFIT:
        return Recovered(
            {},
            f"the gradients show other variances (relative error {max(misfits):.2g}): check the momentum "
            "in the model, and `local_steps` and `client_weight` in the metadata",
        )
    steps = "one step" if how.steps == 1 else f"{how.steps} steps, whose mean they are"
    confirmed = f"; the gradients of {len(misfits)} layers show the same variances" if misfits else ""
    why = f"from the moving statistics, by a momentum of {next(iter(possible)) or 'the model'} and {steps}"
    return Recovered(values, why + confirmed, bool(misfits))


def _momenta(layers: list, aligned: Aligned, how: Protocol) -> list[float | None]:
    """The shares that a step may have kept; None stands for that of each layer in the model.

    A model that describes a network of PyTorch in Keras's format may have the right momentum or the
    default; an ONNX file has the right one.
    """
    if how.kept is not None:
        return [how.kept]
    is_default = all(math.isclose(layer.momentum, KEPT) for layer in layers)
    is_guess = aligned.layout == "torch" and is_default and not aligned.is_exported
    return [KEPT_BY_TORCH, KEPT] if is_guess else [None]


def _solved(layers: list, aligned: Aligned, how: Protocol, kept: float | None) -> dict[str, np.ndarray]:
    """The statistics if each step kept ``kept``; empty if a variance is below zero by more than rounding."""
    found = {}
    for layer in layers:
        share = how.weight * (1 - (layer.momentum if kept is None else kept) ** how.steps)
        for variable in (layer.moving_mean, layer.moving_variance):
            before = variable.numpy().astype(np.float64)
            delta = how.direction * aligned.untrained[variable.path][0].astype(np.float64)
            found[variable.path] = before + delta / share
        path, before = layer.moving_variance.path, layer.moving_variance.numpy()
        if (found[path] < -8 * FLOAT32_ROUNDING * how.weight * before / share).any():
            return {}
        # PyTorch moves the variance by the unbiased estimate, and normalises by the other.
        values = how.images * math.prod(layer.input.shape[1:-1])
        biased = (values - 1) / values if aligned.layout == "torch" else 1.0
        found[path] = np.maximum(found[path], 0) * biased
    return {path: value.astype(np.float32) for path, value in found.items()}


def _misfits(model: keras.Model, layers: list, aligned: Aligned, values: dict, factor: float) -> list[float]:
    """How far the gradients of each layer are from those of a batch with these variances, where they show."""
    found = []
    for layer in layers:
        relation = gradient_relation(model, layer, aligned, factor)
        if relation is not None:
            found.append(relation.misfit(values[layer.moving_variance.path], layer.epsilon))
    return [one for one in found if one is not None]


def put(model: keras.Model, recovered: Recovered) -> None:
    """The statistics of the batch in the place of the moving ones."""
    for variable in model.non_trainable_variables:
        if variable.path in recovered.values:
            variable.assign(recovered.values[variable.path])


def as_json(recovered: Recovered, coupled: list[str]) -> dict[str, Any]:
    """The part of mapping.json on the statistics."""
    return {
        "layers": coupled,
        "recovered": bool(recovered.values),
        "confirmed": recovered.is_confirmed,
        "why": recovered.why,
    }
