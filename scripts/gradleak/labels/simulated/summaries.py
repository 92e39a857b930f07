"""Summary statistics of a last-layer gradient for each class: the input of the simulated posterior."""

from __future__ import annotations

import numpy as np

from gradleak.labels.evidence import Evidence, Public, class_means, simplex, softmax


def summaries(evidence: Evidence, public: Public, bases: list[np.ndarray]) -> np.ndarray:
    """(D, C, F): F numbers for each class of each draw; the last one is the class itself.

    bases: raw counts (D, C) of simpler estimates. public: public data whose statistics are used.
    """
    samples, classes = evidence.samples, evidence.classes
    weight, bias = evidence.grad_weight, evidence.grad_bias
    features = class_means(public.features, public.labels, classes)
    sums = weight.sum(axis=1)
    norms = np.linalg.norm(weight, axis=1)
    total = norms.sum(axis=1, keepdims=True)
    # Behind a ReLU an absent class's column has no negative entry; only its own images make one.
    negative = (weight < -3 * evidence.noise - 1e-9).mean(axis=1)
    largest = np.abs(weight).max(axis=(1, 2))[:, None]

    def everywhere(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (evidence.draws, classes))

    columns = []
    for raw in bases:
        shares = simplex(raw, samples) / samples
        columns += [np.clip(raw / samples, -1, 2), shares, everywhere((shares**2).sum(axis=1, keepdims=True))]
    columns += [
        -bias,
        -sums / max(features.sum(axis=1).mean(), 1e-12),
        negative,
        -weight.min(axis=1) / (largest + 1e-30),
        norms / (total + 1e-30),
        np.log10(norms + 1e-12),
        everywhere(np.log10(total + 1e-12)),
        -sums / (norms * np.sqrt(weight.shape[1]) + 1e-30),
    ]
    # Unmixed by class-mean features, entry (k, c) is the error that images of class k make on output c.
    unmixed = np.einsum(
        "kj,djc->dkc", np.linalg.pinv(features.T.astype(float), rcond=1e-3), weight, optimize=True
    )
    own = -np.einsum("dcc->dc", unmixed)
    probabilities = softmax(evidence.logits(public.features.astype(float)))
    usual = 1 - np.diag(class_means(probabilities, public.labels, classes))
    columns += [own, own / np.maximum(usual, 1e-6), unmixed.sum(axis=1) + own]
    ordered = np.sort(negative, axis=1)
    columns += [
        everywhere(v)
        for v in (
            (negative > 0.02).sum(axis=1, keepdims=True),
            negative.mean(axis=1, keepdims=True),
            ordered[:, :1],
            ordered[:, classes // 8 : classes // 8 + 1],
            ordered[:, classes // 3 : classes // 3 + 1],
            (bias < 0).sum(axis=1, keepdims=True),
        )
    ]
    columns += [negative.argsort(axis=1).argsort(axis=1), everywhere(np.arange(classes)[None])]
    return np.stack([np.asarray(c, np.float32) for c in columns], axis=-1)
