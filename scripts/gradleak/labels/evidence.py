"""The input and the output of a label method, and what methods share: projection onto counts, softmax,
confusion.

Arrays are stacked over D draws that share one global model, so that a method is a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.losses import PLAIN, Loss

LEVELS = (0.5, 0.9, 0.95)  # nominal coverage of the intervals


@dataclass(frozen=True)
class Client:
    """The published settings of the client's round. steps: local steps in all; rate: learning rate."""

    steps: int = 1
    rate: float | None = None
    optimizer: str = "sgd"


@dataclass(frozen=True)
class ShadowClients:
    """Updates of S shadow clients: clients that are simulated with public images under the published
    settings.

    counts: int (S, C), each summing to N. grad_weight, grad_bias: (S, d, C), (S, C), as in Evidence.
    fold: int (S,), the half of the public images (0 or 1) that a client's images come from.
    """

    counts: np.ndarray
    grad_weight: np.ndarray
    grad_bias: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class Public:
    """The adversary's P public images at the last layer of the round's starting model.

    features: (P, d), labels: int (P,). fold: int (P,), the half (0 or 1) that an image belongs to.
    dummy: features of noise images (R, d); they need the model, but no public data.
    path: (T, P', C), logits of P' images with labels ``path_labels`` along the T local steps of one shadow
    client;
        None for one step.
    end_softmax, end_feature_sum: mean softmax (D, C, C) and mean Σ_d h_d (D, C) per class of public images at
        each draw's *final* model, which the update and the starting model determine; None for one step.
    shadow_clients: updates of shadow clients; None for one step, where they follow from ``features``.
    learnt: cache of ``posterior.fit`` by N and client, since several methods use the same regression.
    """

    features: np.ndarray
    labels: np.ndarray
    fold: np.ndarray
    dummy: np.ndarray | None = None
    path: np.ndarray | None = None
    path_labels: np.ndarray | None = None
    end_softmax: np.ndarray | None = None
    end_feature_sum: np.ndarray | None = None
    shadow_clients: ShadowClients | None = None
    learnt: dict[tuple, Any] = field(init=False, default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Members:
    """Images that are known to be in the batches, such as those that span inversion certified.

    counts: int (D, C). grad_weight, grad_bias: the sums of their gradients at the starting model, (D, d, C),
    (D, C).
    """

    counts: np.ndarray
    grad_weight: np.ndarray
    grad_bias: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """The last layer of D updates. d: width of its input, C: classes.

    weight, bias: the layer's parameters before the round, (d, C) and (C,).
    grad_weight, grad_bias: their pseudo-gradients, per-sample mean over the batch, averaged over local steps,
        (D, d, C) and (D, C); bias and its gradient are None where the layer has none.
    samples: N, the number of images behind each update; None where it is unknown.
    public: public data at this model, or None. client: published settings, or None where unknown.
    members: images that are known to be in the batches, or None. multi_label: the C outputs are one sigmoid
    each, whose mean binary cross-entropy was minimised; an image has any number of labels. knows_steps:
    False if the metadata speak of several local steps, but not of how many. is_smoothed: the mapping found
    that the client smoothed its labels, and not by how much. loss: of the client.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    grad_weight: np.ndarray
    grad_bias: np.ndarray | None
    samples: int | None
    public: Public | None = None
    client: Client | None = Client()
    members: Members | None = None
    knows_steps: bool = True
    multi_label: bool = False
    is_smoothed: bool = False
    loss: Loss = PLAIN

    @property
    def draws(self) -> int:
        return len(self.grad_weight)

    @property
    def classes(self) -> int:
        return self.weight.shape[1]

    @property
    def steps(self) -> int:
        return self.client.steps if self.client else 1

    @property
    def noise(self) -> float:
        """Rounding error of a gradient entry that was a difference of float32 weights; 0 for a shared
        gradient.
        """
        if self.client is None or self.client.rate is None:
            return 0.0
        return (
            FLOAT32_ROUNDING
            * float(np.sqrt(np.mean(np.square(self.weight))))
            / (self.client.rate * self.steps)
        )

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Last layer at the starting weights: (…, d) → (…, C)."""
        return features @ self.weight + (0 if self.bias is None else self.bias)


@dataclass(frozen=True)
class Estimate:
    """The result of a method for D draws.

    counts: int (D, C), each row sums to ``samples``; of many labels each entry is from 0 to ``samples``.
    raw: float (D, C), before projection.
    samples: int (D,). low, high: int (L, D, C), conformal intervals at LEVELS, or None.
    abstain: bool (D,), with the reason of each draw. chosen: of ``auto``, the method that gave each draw's
    counts.
    expected_irec: float (D,), mean IRec of similar shadow clients; None where nothing was simulated.
    """

    counts: np.ndarray
    raw: np.ndarray
    samples: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    abstain: np.ndarray | None = None
    reasons: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    expected_irec: np.ndarray | None = None


class NotApplicable(Exception):
    """The update lacks something that the method needs; the message says what."""


def counted(raw: np.ndarray, samples: int | np.ndarray, **more) -> Estimate:
    """The estimate with the counts nearest to ``raw`` (D, C)."""
    each = np.broadcast_to(np.asarray(samples, int), len(raw))
    return Estimate(np.stack([project(r, n) for r, n in zip(raw, each, strict=True)]), raw, each, **more)


def counted_each(raw: np.ndarray, samples: int) -> Estimate:
    """The same for images with any number of labels: each count (D, C) for itself, from 0 to ``samples``."""
    counts = np.clip(np.round(np.nan_to_num(raw)), 0, samples).astype(int)
    return Estimate(counts, raw, np.full(len(raw), samples))


def simplex(raw: np.ndarray, samples: int | np.ndarray) -> np.ndarray:
    """The nearest real vectors ≥ 0 with sum ``samples``, row by row: (D, C) → (D, C)."""
    samples = np.broadcast_to(np.asarray(samples, float), len(raw))[:, None]
    raw = np.nan_to_num(np.asarray(raw, float), nan=0.0, posinf=1e300, neginf=-1e300)
    # A shift changes nothing. Entries more than N below the largest become 0, so clipping them keeps the
    # digits.
    raw = np.maximum(raw - raw.max(axis=1, keepdims=True), -samples)
    ordered = np.sort(raw, axis=1)[:, ::-1]
    cumulative = (np.cumsum(ordered, axis=1) - samples) / np.arange(1, raw.shape[1] + 1)
    last = np.maximum((ordered - cumulative > 0).sum(axis=1) - 1, 0)
    return np.maximum(raw - cumulative[np.arange(len(raw)), last][:, None], 0.0)


def project(raw: np.ndarray, samples: int) -> np.ndarray:
    """Integer counts ≥ 0 with sum ``samples`` nearest to ``raw`` (C,): simplex projection, then largest
    remainder.
    """
    real = simplex(np.asarray(raw)[None], samples)[0]
    counts = np.floor(real + 1e-9).astype(int)
    for c in np.argsort(-(real - counts), kind="stable")[: samples - counts.sum()]:
        counts[c] += 1
    return counts


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean of ``values`` (P, …) per class, (C, …); a class without an image gets the mean of all."""
    overall = values.mean(axis=0)
    own = [values[labels == c] for c in range(classes)]
    return np.stack([members.mean(axis=0) if len(members) else overall for members in own])


def confusion(evidence: Evidence) -> np.ndarray:
    """P[c]: mean softmax of public images of class c at the starting model, (C, C)."""
    probabilities = softmax(evidence.logits(evidence.public.features.astype(float)))
    return class_means(probabilities, evidence.public.labels, evidence.classes)


def solve_confusion(
    matrix: np.ndarray, grad_bias: np.ndarray, samples: int, total: bool = True
) -> np.ndarray:
    """n (D, C) from N g_b = (Pᵀ − I) n by least squares; total: with Σ n = N as one more equation.

    matrix: P, (C, C), or one for each draw, (D, C, C).
    """
    classes = grad_bias.shape[1]
    system = np.swapaxes(np.asarray(matrix, float), -1, -2) - np.eye(classes)
    right = samples * grad_bias.astype(float)
    if total:
        system = np.concatenate([system, np.ones((*system.shape[:-2], 1, classes))], axis=-2)
        right = np.concatenate([right, np.full((len(right), 1), float(samples))], axis=1)
    return np.einsum("cr,dr->dc" if system.ndim == 2 else "dcr,dr->dc", np.linalg.pinv(system), right)
