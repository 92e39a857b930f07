"""Labels from the bias gradient with a guess of the model's confidence (Gat & Sharif 2024, "LLBG")."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, confusion
from gradleak.labels.methods.greedy import extract


def estimate(evidence: Evidence) -> Estimate:
    """Offset 1/C, impact (1 − conf_c) / N for each image of class c.

    conf_c: mean probability of the true class, from public images where there are any, else 1/C (an untrained net).
    """
    classes = evidence.classes
    sure = np.diag(confusion(evidence)) if evidence.public is not None else np.full(classes, 1 / classes)
    # A class that the model is sure of would have no impact and would be given out for ever.
    impact = -np.maximum(1 - sure, 1e-3) / evidence.samples
    return extract(evidence.grad_bias, impact, evidence.samples, 1 / classes)
