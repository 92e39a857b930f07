"""The bias identity with the mean softmax of public images."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, project


def estimate(evidence: Evidence) -> Estimate:
    """Solve g_b = Pᵀ n/N − n/N for n, with P[c] the mean softmax of public images of class c.

    On an untrained net all rows of P are alike and this is n = N (p̄ − g_b); on a trained one the confusion of
    the classes matters, so the linear system is solved with Σ n = N appended, in the least-squares sense.
    """
    if evidence.grad_bias is None:
        raise NotApplicable("the last layer has no bias, and aux_mean reads its gradient")
    if evidence.public_softmax is None:
        raise NotApplicable("aux_mean needs public data")
    system = np.vstack([evidence.public_softmax.T - np.eye(evidence.classes), np.ones(evidence.classes)])
    right = np.append(evidence.samples * evidence.grad_bias, evidence.samples)
    raw = np.linalg.lstsq(system, right, rcond=None)[0]
    return Estimate(project(raw, evidence.samples), raw)
