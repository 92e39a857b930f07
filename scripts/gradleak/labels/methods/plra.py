"""Counts from the mean probability of a class inside and outside of it (posterior-based label recovery, "PLRA", 2024)."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted, softmax


def estimate(evidence: Evidence) -> Estimate:
    """n_j = N (φ⁻_j − g_b[j]) / (1 − φ⁺_j + φ⁻_j), φ⁺ = E[p_j | y = j], φ⁻ = E[p_j | y ≠ j] of public images."""
    probabilities = softmax(evidence.logits(evidence.public.features.astype(float)))
    own = np.eye(evidence.classes, dtype=bool)[evidence.public.labels]
    inside = (probabilities * own).sum(axis=0) / np.maximum(own.sum(axis=0), 1)
    outside = (probabilities * ~own).sum(axis=0) / np.maximum((~own).sum(axis=0), 1)
    raw = evidence.samples * (outside - evidence.grad_bias) / (1 - inside + outside)
    return counted(raw, evidence.samples)
