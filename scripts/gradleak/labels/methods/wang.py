"""Class shares from public batches of one class each.

Wang et al. 2021, "Addressing Class Imbalance in Federated Learning", doi:10.48550/arXiv.2008.06217.
Ramakrishna and Dán 2022, "Inferring Class-Label Distribution in Federated Learning", AISec 2022.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, class_means, counted, softmax, solve_confusion

KEPT = 0.5  # share of the weights of a class, those with the largest |in_c − out_c|


def estimate(evidence: Evidence) -> Estimate:
    """n_c = N mean_j (g_W[j, c] − out_c[j]) / (in_c[j] − out_c[j]) over the weights j where |in_c − out_c| is
    large.

    in_c, out_c: column c of the gradient of a public batch of class c, and its mean over batches of the other
    classes. Updates of several steps are compared with gradients at the starting model. Assumes that public
    and private images of a class have the same mean gradient.
    """
    features, classes = evidence.public.features.astype(float), evidence.classes
    signal = softmax(evidence.logits(features)) - np.eye(classes)[evidence.public.labels]
    single = np.stack(
        [
            features[own].T @ signal[own] / max(own.sum(), 1)
            for own in (evidence.public.labels == c for c in range(classes))
        ]
    )
    inside = np.einsum("cjc->cj", single)
    outside = (single.sum(axis=0).T - inside) / (classes - 1)
    gap = inside - outside
    keep = np.abs(gap) >= np.quantile(np.abs(gap), 1 - KEPT, axis=1, keepdims=True)
    keep &= np.abs(gap) > 1e-12
    ratio = (np.swapaxes(evidence.grad_weight, 1, 2) - outside) / np.where(keep, gap, 1)
    share = (ratio * keep).sum(axis=2) / np.maximum(keep.sum(axis=1), 1)
    return counted(evidence.samples * share, evidence.samples)


def estimate_soft(evidence: Evidence) -> Estimate:
    """Ramakrishna and Dán 2022: (I − σᵀ/E) q = −g_b, with σ the softmaxes of public data summed over E local
    epochs.

    I − σᵀ/E is singular, since Σ_c g_b[c] = 0, so Σ_c q_c = 1 is solved along. For one step this is
    ``aux_mean``.
    """
    labels, logits = evidence.public.labels, evidence.logits(evidence.public.features.astype(float))[None]
    if evidence.steps > 1 and evidence.public.path is not None:
        logits, labels = evidence.public.path.astype(float), evidence.public.path_labels
    sigma = np.mean([class_means(softmax(step), labels, evidence.classes) for step in logits], axis=0)
    return counted(solve_confusion(sigma, evidence.grad_bias, evidence.samples), evidence.samples)
