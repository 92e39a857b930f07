"""The bias identity with the mean softmax of public images."""

from gradleak.labels.evidence import Estimate, Evidence, confusion, counted, solve_confusion


def estimate(evidence: Evidence) -> Estimate:
    """n from N g_b = (Pᵀ − I) n and Σ n = N by least squares, with P[c] the mean softmax of public images of
    class c.

    On an untrained model all rows of P are alike, and n = N (p̄ − g_b); on a trained one the confusion of the
    classes matters. Assumes that public and private images of a class have the same mean softmax.
    """
    raw = solve_confusion(confusion(evidence), evidence.grad_bias, evidence.samples)
    return counted(raw, evidence.samples)
