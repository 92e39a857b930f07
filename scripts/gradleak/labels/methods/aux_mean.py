"""The bias identity with the mean softmax of public images."""

from gradleak.labels.evidence import Estimate, Evidence, confusion, counted, solve_confusion


def estimate(evidence: Evidence) -> Estimate:
    """Solve g_b = Pᵀ n/N − n/N for n, with P[c] the mean softmax of public images of class c.

    On an untrained net all rows of P are alike and this is n = N (p̄ − g_b); on a trained one the confusion of
    the classes matters, so the linear system is solved with Σ n = N appended, in the least-squares sense.
    """
    raw = solve_confusion(confusion(evidence), evidence.grad_bias, evidence.samples)
    return counted(raw, evidence.samples)
