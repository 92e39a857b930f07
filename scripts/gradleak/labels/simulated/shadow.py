"""Shadow clients: updates of public images, whose labels are known, under the client's published settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradleak.labels.evidence import Evidence, Public, ShadowClients
from gradleak.labels.simulated.compositions import compositions, draw_images
from gradleak.losses import MEAN, PLAIN, Loss, signal

CLIENTS = (
    3000  # in each half of the public images, of one step; federated.shadow_clients makes those of several
)
CHUNK = 128  # clients at once


def gradients(
    features: np.ndarray, logits: np.ndarray, labels: np.ndarray, index: np.ndarray, loss: Loss = PLAIN
) -> tuple[np.ndarray, np.ndarray]:
    """Last-layer gradients of the batches ``index`` (S, N) of images: (S, d, C) and (S, C), float32.

    Of the cross-entropy, mean over the batch: (1/N) Σ_i h_i (p_i − e_{y_i})ᵀ and (1/N) Σ_i (p_i − e_{y_i}).
    """
    delta = signal(loss, logits.astype(float), np.eye(logits.shape[1])[labels])
    features, delta = features.astype(np.float32), delta.astype(np.float32)
    parts = [index[start : start + CHUNK] for start in range(0, len(index), CHUNK)]
    weight = [np.matmul(features[part].transpose(0, 2, 1), delta[part]) / part.shape[1] for part in parts]
    bias = [delta[part].mean(axis=1, dtype=float).astype(np.float32) for part in parts]
    if loss.weights and loss.reduction == MEAN:
        means = [np.asarray(loss.weights)[labels[part]].mean(axis=1)[:, None] for part in parts]
        bias = [(one / mean).astype(np.float32) for one, mean in zip(bias, means, strict=True)]
        weight = [(w / mean[:, None]).astype(np.float32) for w, mean in zip(weight, means, strict=True)]
    return np.concatenate(weight), np.concatenate(bias)


def shadow_clients_of(evidence: Evidence) -> ShadowClients:
    """The shadow clients of the evidence's public data; for one step they are made here, CLIENTS in each
    half.
    """
    public = evidence.public
    if public.shadow_clients is not None:
        return public.shadow_clients
    rng = np.random.default_rng([0, evidence.samples])
    logits = evidence.logits(public.features)
    parts = []
    for fold in (0, 1):
        counts = compositions(rng, CLIENTS, evidence.samples, evidence.classes)
        index = draw_images(rng, counts, public.labels, np.flatnonzero(public.fold == fold))
        weight, bias = gradients(public.features, logits, public.labels, index, evidence.loss)
        if evidence.noise:
            weight += (evidence.noise * rng.standard_normal(weight.shape)).astype(np.float32)
        parts.append(ShadowClients(counts, weight, bias, np.full(CLIENTS, fold)))
    return ShadowClients(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]))
    )


def half(public: Public, fold: int, shadow: ShadowClients | None = None) -> Public:
    """The public data of one half, with those of the clients ``shadow`` that draw on it."""
    keep = public.fold == fold
    if shadow is not None:
        own = shadow.fold == fold
        shadow = ShadowClients(*(array[own] for array in vars(shadow).values()))
    return replace(
        public,
        features=public.features[keep],
        labels=public.labels[keep],
        fold=public.fold[keep],
        end_softmax=None,
        end_feature_sum=None,
        shadow_clients=shadow,
    )


def as_evidence(
    evidence: Evidence, shadow: ShadowClients, keep: np.ndarray, public: Public | None
) -> Evidence:
    """The updates of the shadow clients ``keep`` (bool or indices) in the place of the leaked ones."""
    return replace(
        evidence,
        grad_weight=shadow.grad_weight[keep],
        grad_bias=shadow.grad_bias[keep],
        public=public,
        members=None,
    )
