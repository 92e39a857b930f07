"""Virtual clients on the adversary's public images: what updates look like whose labels are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradleak.labels.evidence import Evidence, Public, Rounds, softmax

ROUNDS = 3000  # per half of the public images, for one step; several steps are simulated by gradleak.rounds
CHUNK = 128  # rounds at once
# A broad prior over clients: one in two draws its images evenly, as in most of the literature, the others are of Dirichlet
# concentrations from one class to nearly all alike. Even clients are the hardest to tell from a blind guess.
CONCENTRATIONS = (0.1, 0.15, 0.3, 0.5, 1.0, 3.0, *(1e4,) * 6)


def compositions(rng: np.random.Generator, rounds: int, samples: int, classes: int) -> np.ndarray:
    """Class counts of virtual clients, int (rounds, C), each summing to N."""
    alphas = rng.choice(CONCENTRATIONS, rounds)
    return np.stack([rng.multinomial(samples, rng.dirichlet(np.full(classes, alpha))) for alpha in alphas])


def members_of(
    rng: np.random.Generator, counts: np.ndarray, labels: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    """Indices (rounds, N) into ``labels`` of images out of ``pool`` (indices) with the class counts (rounds, C).

    Without repeats while a class lasts.
    """
    own = [pool[labels[pool] == c] for c in range(counts.shape[1])]
    own = [members if len(members) else pool for members in own]
    return np.stack(
        [
            np.concatenate([rng.choice(own[c], n, replace=n > len(own[c])) for c, n in enumerate(row)])
            for row in counts
        ]
    )


def gradients(
    features: np.ndarray, logits: np.ndarray, labels: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Last-layer gradients of the batches ``index`` (S, N) of images: (S, d, C) and (S, C), float32.

    Cross-entropy, mean over the batch: (1/N) Σ_i h_i (p_i − e_{y_i})ᵀ and (1/N) Σ_i (p_i − e_{y_i}).
    """
    signal = softmax(logits.astype(float))
    signal[np.arange(len(labels)), labels] -= 1
    features, signal = features.astype(np.float32), signal.astype(np.float32)
    parts = [index[start : start + CHUNK] for start in range(0, len(index), CHUNK)]
    weight = [np.matmul(features[part].transpose(0, 2, 1), signal[part]) / part.shape[1] for part in parts]
    bias = [signal[part].mean(axis=1, dtype=float).astype(np.float32) for part in parts]
    return np.concatenate(weight), np.concatenate(bias)


def rounds_of(evidence: Evidence) -> Rounds:
    """The virtual rounds of the evidence's public data; for one step they are made here, ROUNDS in each half."""
    public = evidence.public
    if public.rounds is not None:
        return public.rounds
    rng = np.random.default_rng([0, evidence.samples])
    logits = evidence.logits(public.features)
    parts = []
    for fold in (0, 1):
        counts = compositions(rng, ROUNDS, evidence.samples, evidence.classes)
        index = members_of(rng, counts, public.labels, np.flatnonzero(public.fold == fold))
        weight, bias = gradients(public.features, logits, public.labels, index)
        if evidence.noise:
            weight += (evidence.noise * rng.standard_normal(weight.shape)).astype(np.float32)
        parts.append(Rounds(counts, weight, bias, np.full(ROUNDS, fold)))
    return Rounds(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def half(public: Public, fold: int, rounds: Rounds | None = None) -> Public:
    """The public data without the images of the other half; of ``rounds`` those that draw on this half."""
    keep = public.fold == fold
    if rounds is not None:
        own = rounds.fold == fold
        rounds = Rounds(*(array[own] for array in vars(rounds).values()))
    return replace(
        public,
        features=public.features[keep],
        labels=public.labels[keep],
        fold=public.fold[keep],
        end_softmax=None,
        end_feature_sum=None,
        rounds=rounds,
    )


def as_evidence(evidence: Evidence, rounds: Rounds, keep: np.ndarray, public: Public | None) -> Evidence:
    """Virtual rounds ``keep`` (bool or indices) as if they were the leak."""
    return replace(
        evidence,
        grad_weight=rounds.grad_weight[keep],
        grad_bias=rounds.grad_bias[keep],
        public=public,
        members=None,
    )
