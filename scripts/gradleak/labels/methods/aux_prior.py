"""Baseline: the class frequencies of the public data."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted


def estimate(evidence: Evidence) -> Estimate:
    """n_c = N P_c / P with P_c the number of public images of class c. Does not use the gradient."""
    share = np.bincount(evidence.public.labels, minlength=evidence.classes) / len(evidence.public.labels)
    return counted(np.tile(evidence.samples * share, (evidence.draws, 1)), evidence.samples)
