"""Counts from the mean probability of a class over its own and over other images (PLRA).

Zhang, Guo and Li 2024, "Posterior Probability-based Label Recovery Attack in Federated Learning", workshop
paper at ICLR 2024, https://openreview.net/forum?id=8yELN390FL.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted, softmax


def estimate(evidence: Evidence) -> Estimate:
    """n_c = N (φ⁻_c − g_b[c]) / (1 − φ⁺_c + φ⁻_c) with φ⁺_c = E[p_c | y = c] and φ⁻_c = E[p_c | y ≠ c] of
    public images.

    Assumes that private images have the same mean probabilities, whatever the other classes of the batch.
    """
    probabilities = softmax(evidence.logits(evidence.public.features.astype(float)))
    own = np.eye(evidence.classes, dtype=bool)[evidence.public.labels]
    inside = (probabilities * own).sum(axis=0) / np.maximum(own.sum(axis=0), 1)
    outside = (probabilities * ~own).sum(axis=0) / np.maximum((~own).sum(axis=0), 1)
    raw = evidence.samples * (outside - evidence.grad_bias) / (1 - inside + outside)
    return counted(raw, evidence.samples)
