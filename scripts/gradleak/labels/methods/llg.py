"""Counts from the column sums of the last layer's gradient (LLG, LLG*, LLG+).

Wainakh et al. 2022, "User-Level Label Leakage from Gradients in Federated Learning",
doi:10.48550/arXiv.2105.09369.

The gradient here is the mean over local steps, so the paper's division by the number of steps is already
done. For several steps impact and offset are taken at the starting model, as in the paper. (The released code
of the pruning defence drops whole tensors where the paper drops entries; no defence is part of this module.)
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, class_means, softmax
from gradleak.labels.methods.greedy import extract


def estimate(evidence: Evidence) -> Estimate:
    """LLG, from the gradient alone: impact m = (1 + 1/C) Σ_{c: s_c<0} s_c / N without offset.

    s_c = Σ_d g_W[d, c]. Assumes non-negative features.
    """
    sums = evidence.grad_weight.sum(axis=1)
    return extract(sums, negative_mass(sums, evidence.samples), evidence.samples)


def negative_mass(signal: np.ndarray, samples: int) -> np.ndarray:
    """The impact of one image, (D, 1): (1 + 1/C) / N times the negative entries of ``signal`` (D, C)."""
    return np.minimum(signal, 0).sum(axis=1, keepdims=True) / samples * (1 + 1 / signal.shape[1])


def estimate_star(evidence: Evidence) -> Estimate:
    """LLG*: impact and offset from noise images through the model, each labelled with every class in turn.

    Assumes that the features of noise images are like those of private ones, which holds for untrained
    models.
    """
    features = np.repeat(evidence.public.dummy, evidence.classes, axis=0)
    labels = np.tile(np.arange(evidence.classes), len(evidence.public.dummy))
    return _with_batches(evidence, features, labels)


def estimate_plus(evidence: Evidence) -> Estimate:
    """LLG+: impact and offset from batches of public images of one class each.

    m = (1 + 1/C) mean_c s_c(batch of c) / N, and the offset of class c is the mean of s_c over the batches of
    other classes. Assumes that public and private images of a class have similar features.
    """
    return _with_batches(evidence, evidence.public.features, evidence.public.labels)


def _with_batches(evidence: Evidence, features: np.ndarray, labels: np.ndarray) -> Estimate:
    classes = evidence.classes
    sums = features.sum(axis=1)[:, None] * (softmax(evidence.logits(features)) - np.eye(classes)[labels])
    single = class_means(sums, labels, classes)  # row k: the column sums of a batch of class k alone
    impact = np.diag(single).mean() / evidence.samples * (1 + 1 / classes)
    offset = (single.sum(axis=0) - np.diag(single)) / (classes - 1)
    return extract(evidence.grad_weight.sum(axis=1), impact, evidence.samples, offset)
