"""Instance-wise labels from recovered class embeddings (Ma et al. 2023, "iLRG")."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted, softmax


def estimate(evidence: Evidence) -> Estimate:
    """ê_c = g_W[:, c] / g_b[c], P̂[c] = softmax(Wᵀ ê_c + b), then [1ᵀ; P̂ᵀ − I] n = [N; N g_b] by pseudo-inverse.

    Unstable where g_b[c] ≈ 0 and on trained nets. The released code rounds without bringing the sum to N; here, as
    for every method, the counts are projected so that they sum to N, and ``raw`` keeps the solution, clipped at 0.
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
