"""Instance-wise labels from recovered class embeddings (iLRG).

Ma et al. 2023, "Instance-wise Batch Label Restoration via Gradients in Federated Learning", ICLR 2023,
https://openreview.net/forum?id=FIrQfNSOoTr.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted, softmax


def estimate(evidence: Evidence) -> Estimate:
    """ê_c = g_W[:, c] / g_b[c], P̂[c] = softmax(Wᵀ ê_c + b), then [1ᵀ; P̂ᵀ − I] n = [N; N g_b] by
    pseudo-inverse.

    Assumes that the features of a class are alike, as in an untrained model; unstable where g_b[c] ≈ 0. The
    released code rounds without fixing the sum; here the counts are projected so that they sum to N, as for
    every method, and ``raw`` is the solution clipped at 0.
    """
    if (np.abs(evidence.grad_bias) == 0).all(axis=1).any():
        raise NotApplicable("the last layer's bias gradient is zero")
    with np.errstate(divide="ignore", invalid="ignore"):
        embedded = np.swapaxes(evidence.grad_weight.astype(float) / evidence.grad_bias[:, None], 1, 2)
    logits = evidence.logits(np.nan_to_num(embedded, posinf=0, neginf=0))
    matrix = softmax(logits)
    classes = evidence.classes
    system = np.concatenate(
        [np.ones((evidence.draws, 1, classes)), np.swapaxes(matrix, 1, 2) - np.eye(classes)], 1
    )
    right = evidence.samples * np.concatenate([np.ones((evidence.draws, 1)), evidence.grad_bias], axis=1)
    raw = np.maximum(np.einsum("dcr,dr->dc", np.linalg.pinv(system), right), 0)
    return counted(raw, evidence.samples)
