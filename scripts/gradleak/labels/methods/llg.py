"""LLG, LLG* and LLG+: counts from the sums of the last layer's columns (Wainakh et al. 2022, "User-Level Label Leakage").

The gradient here is the mean over local steps, so the papers' division by the number of steps is already done.
The multi-step case uses the starting model only, as the paper does. (The released defence code drops whole tensors
where the paper prunes entries; no defence is part of this module.)
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, class_means, softmax
from gradleak.labels.methods.greedy import extract


def estimate(evidence: Evidence) -> Estimate:
    """LLG, the gradient alone: impact m = (Σ_{s_c<0} s_c / N)(1 + 1/C), no offset; s_c = Σ_d g_W[d, c]."""
    sums = evidence.grad_weight.sum(axis=1)
    return extract(sums, negative_mass(sums, evidence.samples), evidence.samples)


def negative_mass(signal: np.ndarray, samples: int) -> np.ndarray:
    """The impact of one image, (D, 1): what is negative in ``signal`` (D, C), spread over N images."""
    return np.minimum(signal, 0).sum(axis=1, keepdims=True) / samples * (1 + 1 / signal.shape[1])


def estimate_star(evidence: Evidence) -> Estimate:
    """LLG*: impact and offset from noise images through the shared model, each taken as every class in turn."""
    features = np.repeat(evidence.public.dummy, evidence.classes, axis=0)
    labels = np.tile(np.arange(evidence.classes), len(evidence.public.dummy))
    return _with_batches(evidence, features, labels)


def estimate_plus(evidence: Evidence) -> Estimate:
    """LLG+: impact and offset from single-class batches of public images."""
    return _with_batches(evidence, evidence.public.features, evidence.public.labels)


def _with_batches(evidence: Evidence, features: np.ndarray, labels: np.ndarray) -> Estimate:
    classes = evidence.classes
    sums = features.sum(axis=1)[:, None] * (softmax(evidence.logits(features)) - np.eye(classes)[labels])
    single = class_means(sums, labels, classes)  # row k: the column sums of a batch of class k alone
    impact = np.diag(single).mean() / evidence.samples * (1 + 1 / classes)
    offset = (single.sum(axis=0) - np.diag(single)) / (classes - 1)
    return extract(evidence.grad_weight.sum(axis=1), impact, evidence.samples, offset)
