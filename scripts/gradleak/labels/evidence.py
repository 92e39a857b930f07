"""What a label method may look at, what it gives back, and the projection that all counts go through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """The last layer of one update. d: width of its input, C: classes.

    weight, bias: the layer's parameters before the round, (d, C) and (C,).
    grad_weight, grad_bias: their pseudo-gradients, per-sample mean over the batch, same shapes;
        None where the layer has no bias.
    public_softmax: mean softmax of public images of each true class, (C, C), rows sum to one; None without data.
    samples: N, the number of images behind the update.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    grad_weight: np.ndarray
    grad_bias: np.ndarray | None
    public_softmax: np.ndarray | None
    samples: int

    @property
    def classes(self) -> int:
        return self.weight.shape[1]


@dataclass(frozen=True)
class Estimate:
    """counts: int (C,), sums to N. raw: float (C,), before projection. reason: why not applicable, else ''."""

    counts: np.ndarray
    raw: np.ndarray
    reason: str = ""


class NotApplicable(Exception):
    """The method needs something that this update does not offer; the message says what."""


def project(raw: np.ndarray, samples: int) -> np.ndarray:
    """Integer counts ≥ 0 with sum ``samples`` nearest to ``raw``: simplex projection, then largest remainder."""
    raw = np.nan_to_num(np.asarray(raw, float), nan=0.0, posinf=1e300, neginf=-1e300)
    # A shift changes nothing, and what lies more than N below the largest gets nothing: no loss of digits further on.
    raw = np.maximum(raw - raw.max(), -float(samples))
    ordered = np.sort(raw)[::-1]
    cumulative = (np.cumsum(ordered) - samples) / np.arange(1, len(raw) + 1)
    threshold = cumulative[np.flatnonzero(ordered - cumulative > 0)[-1]]
    real = np.maximum(raw - threshold, 0.0)
    counts = np.floor(real + 1e-9).astype(int)
    for c in np.argsort(-(real - counts), kind="stable")[: samples - counts.sum()]:
        counts[c] += 1
    return counts


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
