"""Known members: their gradients are subtracted from the update, and a method estimates the other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gradleak.labels.evidence import LEVELS, Estimate, Evidence, Members, counted
from gradleak.losses import PLAIN, Loss, signal


def gather(
    labels: np.ndarray,
    features: np.ndarray,
    logits: np.ndarray,
    owner: np.ndarray,
    draws: int,
    loss: Loss = PLAIN,
) -> Members:
    """Members of D draws from K images. labels: int (K,). features, logits: at the starting model, (K, d),
    (K, C).

    owner: int (K,), the draw that an image belongs to. loss: of the client.
    """
    classes = logits.shape[1]
    known = np.eye(classes, dtype=int)[labels]
    each = signal(loss, logits.astype(float), known)
    counts, bias = np.zeros((draws, classes), int), np.zeros((draws, classes))
    weight = np.zeros((draws, features.shape[1], classes))
    for draw in range(draws):
        own = owner == draw
        counts[draw] = known[own].sum(axis=0)
        bias[draw] = each[own].sum(axis=0)
        weight[draw] = features[own].T.astype(float) @ each[own]
    return Members(counts, weight, bias)


def fused(estimate: Callable[[Evidence], Estimate], evidence: Evidence) -> Estimate:
    """The members' counts plus the estimate of the other images.

    With one local step the update is a sum over images. The gradients of k members are subtracted, and the
    rest is an update of N − k images: g' = (N g − Σ_members g_i) / (N − k). With several steps there is no
    such sum, and the members are lower bounds of the counts.
    """
    members, samples = evidence.members, evidence.samples
    left = samples - members.counts.sum(axis=1)
    plain = replace(evidence, members=None)
    if evidence.steps > 1:
        return _bounded(estimate(plain), members.counts, left)
    parts = {}
    for rest in np.unique(left[left > 0]):
        own = np.flatnonzero(left == rest)
        weight = (samples * plain.grad_weight[own] - members.grad_weight[own]) / rest
        bias = (
            None
            if plain.grad_bias is None
            else (samples * plain.grad_bias[own] - members.grad_bias[own]) / rest
        )
        found = estimate(replace(plain, grad_weight=weight, grad_bias=bias, samples=int(rest)))
        parts |= {draw: (found, index) for index, draw in enumerate(own)}
    return _joined(parts, members.counts, samples)


def _bounded(found: Estimate, members: np.ndarray, left: np.ndarray) -> Estimate:
    rest = counted(found.raw - members, left)
    low = None if found.low is None else np.maximum(found.low, members)
    high = None if found.high is None else np.maximum(found.high, members)
    return replace(found, counts=rest.counts + members, low=low, high=high)


def _joined(parts: dict[int, tuple[Estimate, int]], members: np.ndarray, samples: int) -> Estimate:
    """Members and rest. parts: draw → the estimate of its rest and the row there; a draw without has members
    only.
    """
    draws = len(members)
    counts, raw = members.copy(), members.astype(float)
    bounds = {side: np.tile(members, (len(LEVELS), 1, 1)) for side in ("low", "high")}
    expected, chosen = np.ones(draws), [""] * draws
    for draw, (found, row) in parts.items():
        counts[draw] += found.counts[row]
        raw[draw] += found.raw[row]
        for side, bound in bounds.items():
            if getattr(found, side) is not None:
                bound[:, draw] += getattr(found, side)[:, row]
        if found.expected_irec is not None:
            expected[draw] += found.samples[row] / samples * (found.expected_irec[row] - 1)
        if found.chosen:
            chosen[draw] = found.chosen[row]
    estimates = [found for found, _ in parts.values()]
    if any(found.low is None for found in estimates):
        bounds = {}
    expects = all(found.expected_irec is not None for found in estimates)
    return Estimate(
        counts,
        raw,
        np.full(draws, samples),
        **bounds,
        chosen=tuple(chosen) if any(chosen) else (),
        expected_irec=expected if expects else None,
    )
