"""The baseline that every label figure is read against: all classes equally often."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted


def estimate(evidence: Evidence) -> Estimate:
    share = evidence.samples / evidence.classes
    return counted(np.full((evidence.draws, evidence.classes), share), evidence.samples)
