"""Rank-1 least squares: one feature vector explains the whole last-layer gradient. No public data, no
published method.
"""

import numpy as np

from gradleak.labels.evidence import (
    Estimate,
    Evidence,
    NotApplicable,
    counted,
    counted_each,
    sigmoid,
    softmax,
)

ITERATIONS = 8
FLOOR = 0.5  # images: keeps the weights of absent classes finite


def estimate(evidence: Evidence) -> Estimate:
    """n = N (softmax(Wᵀ ĥ + b) − g_b) with ĥ = g_W g_b / ‖g_b‖².

    With cross-entropy g_W = (1/N) Σ_i h_i (p_i − e_{y_i})ᵀ and g_b = p̄ − n/N. Where the features h_i are
    alike (an untrained model), g_W ≈ ĥ g_bᵀ, and the least-squares ĥ gives the mean softmax p̄ that the
    identity needs. With one sigmoid a class n = N (σ(Wᵀ ĥ + b) − C g_b).
    """
    _needs_a_gradient(evidence)
    feature = common_feature(evidence, np.ones((evidence.draws, evidence.classes)))
    if evidence.multi_label:
        share = sigmoid(evidence.logits(feature)) - evidence.classes * evidence.grad_bias.astype(float)
        return counted_each(evidence.samples * share, evidence.samples)
    share = softmax(evidence.logits(feature)) - evidence.grad_bias
    return counted(evidence.samples * share, evidence.samples)


def estimate_weighted(evidence: Evidence) -> Estimate:
    """The same with weights and with a feature vector for each class, iterated from the plain solution.

    Column c of g_W is p̄_c h̄ − (n_c/N) m_c, m_c the mean feature of class c. The column of an absent class
    determines h̄ exactly, that of a frequent class hardly, hence weights 1/(n_c + ½). Given n and h̄ the
    columns determine the m_c (shrunk to h̄ where n_c is small), and p̄ is the mixture of softmax(Wᵀ m_c + b).
    """
    _needs_a_gradient(evidence)
    return counted(weighted(evidence), evidence.samples)


def weighted(evidence: Evidence) -> np.ndarray:
    """The raw counts of ``estimate_weighted``, (D, C)."""
    samples, bias = evidence.samples, evidence.grad_bias.astype(float)
    feature = common_feature(evidence, np.ones_like(bias))
    mean = softmax(evidence.logits(feature))
    share = np.maximum(mean - bias, 0)
    for _ in range(ITERATIONS):
        feature = common_feature(evidence, 1 / (samples * share + FLOOR))
        columns = (share + bias)[:, :, None] * feature[:, None] - np.swapaxes(evidence.grad_weight, 1, 2)
        own = columns / np.maximum(share, 1e-9)[:, :, None]
        trust = (samples * share / (samples * share + 1))[:, :, None]
        own = trust * own + (1 - trust) * feature[:, None]
        weights = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
        mean = np.einsum("dc,dck->dk", weights, softmax(evidence.logits(own)))
        share = (share + np.maximum(mean - bias, 0)) / 2  # damped: the plain step can swing
    return samples * (mean - bias)


def _needs_a_gradient(evidence: Evidence) -> None:
    if not np.any(evidence.grad_bias, axis=1).all():
        raise NotApplicable("the last layer's bias gradient is zero")


def common_feature(evidence: Evidence, weights: np.ndarray) -> np.ndarray:
    """The feature vector (D, d) with g_W ≈ ĥ g_bᵀ, least squares over classes with ``weights`` (D, C)."""
    bias = evidence.grad_bias.astype(float)
    energy = (weights * bias**2).sum(axis=1, keepdims=True)
    return np.einsum("dkc,dc->dk", evidence.grad_weight, weights * bias) / np.maximum(energy, 1e-300)
