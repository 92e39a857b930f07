"""Signs of the last layer's gradient (Zhao et al. 2020, "iDLG")."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, project


def estimate(evidence: Evidence) -> Estimate:
    """Classes whose column of g_W sums to less than zero are present; one image: the most negative one.

    The paper is about one image; for a batch this is the baseline in use: presence by sign, no counts, so the
    N images are shared out evenly among the classes found. Needs non-negative features (ReLU, sigmoid).
    """
    sums = evidence.grad_weight.sum(axis=0)
    present = sums < 0
    if evidence.samples == 1 or not present.any():
        present = np.arange(evidence.classes) == sums.argmin()
    raw = evidence.samples * present / present.sum()
    return Estimate(project(raw, evidence.samples), raw)
