"""LLG on the bias gradient ("bias-corrected" LLG in the literature on label leakage)."""

from gradleak.labels.evidence import Estimate, Evidence
from gradleak.labels.methods.greedy import extract
from gradleak.labels.methods.llg import negative_mass


def estimate(evidence: Evidence) -> Estimate:
    """The greedy extraction of LLG with g_b in the place of the column sums.

    No assumption on the sign of features. The impact assumes that probabilities of absent classes are small.
    """
    return extract(evidence.grad_bias, negative_mass(evidence.grad_bias, evidence.samples), evidence.samples)
