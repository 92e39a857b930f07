"""Labels from the bias gradient and the confidence of the model (LLBG).

Gat and Sharif 2024, "Harmful Bias: A General Label-Leakage Attack on Federated Learning from Bias Gradients",
AISec 2024.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, confusion
from gradleak.labels.methods.greedy import extract


def estimate(evidence: Evidence) -> Estimate:
    """Greedy extraction from g_b with offset 1/C and impact −(1 − conf_c) / N for each image of class c.

    conf_c: mean probability of the true class, from public images where there are any, else 1/C (an untrained
    model). No assumption on the sign of features.
    """
    classes = evidence.classes
    sure = np.diag(confusion(evidence)) if evidence.public is not None else np.full(classes, 1 / classes)
    # A class with confidence 1 would have no impact and would be taken again and again.
    impact = -np.maximum(1 - sure, 1e-3) / evidence.samples
    return extract(evidence.grad_bias, impact, evidence.samples, 1 / classes)
