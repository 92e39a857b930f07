"""Rank-1 least squares: one feature vector explains the whole last-layer gradient. No public data."""

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, project, softmax


def estimate(evidence: Evidence) -> Estimate:
    """n = N (softmax(W ĥ + b) − g_b) with ĥ = g_W g_b / ‖g_b‖².

    With cross-entropy g_W = (1/N) Σ_i h_i (p_i − e_{y_i})ᵀ and g_b = p̄ − n/N. Where the features h_i are alike
    (an untrained net), g_W ≈ ĥ g_bᵀ, and the least-squares ĥ gives the mean softmax p̄ that the identity needs.
    """
    if evidence.grad_bias is None or evidence.bias is None:
        raise NotApplicable("the last layer has no bias, and rank1 divides by its gradient")
    energy = evidence.grad_bias @ evidence.grad_bias
    if energy <= 0:
        raise NotApplicable("the last layer's bias gradient is zero")
    feature = evidence.grad_weight @ evidence.grad_bias / energy
    raw = evidence.samples * (softmax(feature @ evidence.weight + evidence.bias) - evidence.grad_bias)
    return Estimate(project(raw, evidence.samples), raw)
