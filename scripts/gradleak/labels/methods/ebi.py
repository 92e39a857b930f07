"""LLG on the bias gradient ("bias-corrected", as the label-leakage literature uses it)."""

from gradleak.labels.evidence import Estimate, Evidence
from gradleak.labels.methods.greedy import extract
from gradleak.labels.methods.llg import negative_mass


def estimate(evidence: Evidence) -> Estimate:
    """The greedy extraction with g_b in place of the column sums; no assumption on the sign of features."""
    return extract(evidence.grad_bias, negative_mass(evidence.grad_bias, evidence.samples), evidence.samples)
