"""Class shares by comparing each weight with single-class updates (Wang et al. 2021, "Addressing Class Imbalance")."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, class_means, counted, softmax, solve_confusion

KEPT = 0.5  # share of a class's weights, those that tell it apart most


def estimate(evidence: Evidence) -> Estimate:
    """n_c = N mean_j (g_W[j, c] − out_c[j]) / (in_c[j] − out_c[j]) over the weights j that tell c apart most.

    in_c, out_c: column c of the gradient of public batches of class c alone, and of the others on average. Multi-step
    updates are compared with the starting model's gradients.
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
    """Ramakrishna & Dán 2022: (I − σ/E) q = −g_b, σ the softmaxes of public data summed over E local epochs.

    I − σᵀ/E is singular (Σ g_b = 0), so Σ q = 1 is solved along; for one step this is ``aux_mean``.
    """
    labels, logits = evidence.public.labels, evidence.logits(evidence.public.features.astype(float))[None]
    if evidence.steps > 1 and evidence.public.path is not None:
        logits, labels = evidence.public.path.astype(float), evidence.public.path_labels
    sigma = np.mean([class_means(softmax(step), labels, evidence.classes) for step in logits], axis=0)
    return counted(solve_confusion(sigma, evidence.grad_bias, evidence.samples), evidence.samples)
