"""The baseline that every label figure is read against: all classes equally often."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, project


def estimate(evidence: Evidence) -> Estimate:
    raw = np.full(evidence.classes, evidence.samples / evidence.classes)
    return Estimate(project(raw, evidence.samples), raw)
