"""Is this image a member? Answers that need no truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.subspace import Subspace


@dataclass(frozen=True)
class Certificates:
    """What the update says of B candidate images. All arrays [B].

    residual: ρ of the feature, 0 in the span. normalised_residual: the same against the noise, 1 to 2 for a member.
    label: the class whose δ lies closest to the row space, where it was not given; label_normalised_residual: its distance against the noise;
    label_margin: how many times farther the next class is. answer: the class of the least δ, which is what the model says of the
    image. weight: δᵀ M⁺ f, the rank-one share of the image in M:
    N for a member of a mean over N images, and the rank of M − f δᵀ / weight is one less (Wedderburn 1934).
    uncertainty: of the weight, in the same unit, from the noise: a faint member's is large.
    signal: δ under that label, [B, O]. feature: [B, I].
    """

    residual: np.ndarray
    normalised_residual: np.ndarray
    label: np.ndarray
    label_normalised_residual: np.ndarray
    label_margin: np.ndarray
    answer: np.ndarray
    weight: np.ndarray
    uncertainty: np.ndarray
    signal: np.ndarray
    feature: np.ndarray


def certify(host: Host, span: Subspace, images: np.ndarray, labels: np.ndarray | None = None) -> Certificates:
    """Judge ``images`` [B, H, W, C] against the whole update; ``host`` should compute in float64. labels: int [B], if they are known."""
    return judge(host, span, host.features(images.astype(host.dtype)).numpy(), labels)


def judge(host: Host, span: Subspace, features: np.ndarray, labels: np.ndarray | None = None) -> Certificates:
    """``certify`` for ``features`` [B, I] of images that need not be known."""
    signals = host.signals(features)
    batch, classes, width = signals.shape
    rows, flat = span.transposed, signals.reshape(-1, width)
    distances = rows.residual(flat).reshape(batch, classes)
    label = distances.argmin(axis=1) if labels is None else labels
    each = np.arange(batch)
    signal, distance = signals[each, label], distances[each, label]
    others = np.where(np.arange(classes) == label[:, None], np.inf, distances)
    weight, uncertainty = span.weigh(features, signal)
    return Certificates(
        residual=span.residual(features),
        normalised_residual=span.normalised_residual(features),
        label=label,
        label_normalised_residual=rows.normalised_residual(signal),
        label_margin=others.min(axis=1) / np.maximum(distance, 1e-300),
        answer=np.linalg.norm(signals, axis=2).argmin(axis=1),
        weight=weight,
        uncertainty=uncertainty,
        signal=signal,
        feature=features,
    )


def of(found: Certificates, which: Sequence[int]) -> Certificates:
    """Those of the images ``which``."""
    return Certificates(**{field.name: getattr(found, field.name)[which] for field in fields(Certificates)})


def joined(one: Certificates, other: Certificates) -> Certificates:
    """Those of ``one``, then those of ``other``."""
    names = (field.name for field in fields(Certificates))
    return Certificates(
        **{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    )


def chosen(first: np.ndarray, one: Certificates, other: Certificates) -> Certificates:
    """Of image b what ``one`` says where ``first`` (bool [B]), else what ``other`` says."""
    names = (field.name for field in fields(Certificates))
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
    return Certificates(
        **{n: np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for n, (a, b) in pairs.items()}
    )
