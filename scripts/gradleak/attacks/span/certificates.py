"""Certificates of membership of candidate images, computed from the update without the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.subspace import Subspace


@dataclass(frozen=True)
class Certificates:
    """Certificates of B candidate images. All arrays [B] unless another shape is given.

    residual: ρ of the feature, 0 in the span. normalised_residual: the same relative to the noise, 1 to 2 for
    a member. label: the given class, or the class whose δ lies closest to the row space.
    label_normalised_residual: its distance relative to the noise. label_margin: how many times farther the
    next class is. Of two classes the δ are opposite: both are equally far, so that the margin is 1 and the
    label is the class whose weight is positive. predicted: the class of the least δ, which is the model's
    prediction. weight: δᵀ M⁺ f, the reciprocal of the coefficient of f δᵀ in M, which is the N that the
    candidate implies: N for a member of a mean over N images, and the rank of M − f δᵀ / weight is one less
    (Wedderburn 1934). uncertainty: standard deviation of the weight, from the noise. delta: δ under that
    label, [B, O]. feature: [B, I].
    """

    residual: np.ndarray
    normalised_residual: np.ndarray
    label: np.ndarray
    label_normalised_residual: np.ndarray
    label_margin: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray
    uncertainty: np.ndarray
    delta: np.ndarray
    feature: np.ndarray


def of_none(features: int, outputs: int) -> Certificates:
    """Those of no image, of a layer with I features and O outputs."""
    nothing, classes = np.zeros(0), np.zeros(0, int)
    return Certificates(
        residual=nothing,
        normalised_residual=nothing,
        label=classes,
        label_normalised_residual=nothing,
        label_margin=nothing,
        predicted=classes,
        weight=nothing,
        uncertainty=nothing,
        delta=np.zeros((0, outputs)),
        feature=np.zeros((0, features)),
    )


def of_images(
    layer: DenseLayer, span: Subspace, images: np.ndarray, labels: np.ndarray | None = None
) -> Certificates:
    """Certificates of ``images`` [B, H, W, C]; ``layer`` should compute in float64. labels: int [B], if they
    are given."""
    return of_features(layer, span, layer.features(images.astype(layer.dtype)).numpy(), labels)


def of_features(
    layer: DenseLayer, span: Subspace, features: np.ndarray, labels: np.ndarray | None = None
) -> Certificates:
    """Certificates of ``features`` [B, I] of images that need not be known."""
    deltas = layer.deltas(features)
    batch, classes, width = deltas.shape
    rows, flat = span.transposed, deltas.reshape(-1, width)
    distances = rows.residual(flat).reshape(batch, classes)
    if labels is not None:
        label = labels
    elif classes == 2:
        label = (span.weigh(features, deltas[:, 1])[0] > 0).astype(int)
    else:
        label = distances.argmin(axis=1)
    each = np.arange(batch)
    delta, distance = deltas[each, label], distances[each, label]
    others = np.where(np.arange(classes) == label[:, None], np.inf, distances)
    weight, uncertainty = span.weigh(features, delta)
    return Certificates(
        residual=span.residual(features),
        normalised_residual=span.normalised_residual(features),
        label=label,
        label_normalised_residual=rows.normalised_residual(delta),
        label_margin=others.min(axis=1) / np.maximum(distance, thresholds.TINY),
        predicted=_predicted(layer, features, deltas),
        weight=weight,
        uncertainty=uncertainty,
        delta=delta,
        feature=features,
    )


def _predicted(layer: DenseLayer, features: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """The model's class of each image, int [B]: of hard labels the one with the smallest δ."""
    if layer.loss.is_plain:
        return np.linalg.norm(deltas, axis=2).argmin(axis=1)
    return layer.predicted(features)


def subset(certificates: Certificates, which: Sequence[int]) -> Certificates:
    """Those of the images ``which``."""
    names = (field.name for field in fields(Certificates))
    return Certificates(**{name: getattr(certificates, name)[which] for name in names})


def joined(one: Certificates, other: Certificates) -> Certificates:
    """Those of ``one``, then those of ``other``."""
    names = (field.name for field in fields(Certificates))
    return Certificates(
        **{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    )


def where(first: np.ndarray, one: Certificates, other: Certificates) -> Certificates:
    """For image b those of ``one`` where ``first`` (bool [B]), else those of ``other``."""
    names = (field.name for field in fields(Certificates))
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
    return Certificates(
        **{n: np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for n, (a, b) in pairs.items()}
    )
