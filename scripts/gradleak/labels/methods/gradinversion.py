"""The N most negative columns (GradInversion).

Yin et al. 2021, "See through Gradients: Image Batch Recovery via GradInversion", eq. 8,
doi:10.48550/arXiv.2104.07586.
"""

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted


def estimate(evidence: Evidence) -> Estimate:
    """One image each of the N classes with the lowest min_d g_W[d, c].

    Assumes non-negative features and that no class repeats. Raises NotApplicable if N exceeds the number of
    classes.
    """
    if evidence.samples > evidence.classes:
        raise NotApplicable(
            f"gradinversion assumes that no class repeats; {evidence.samples} images "
            f"of {evidence.classes} classes do"
        )
    rank = evidence.grad_weight.min(axis=1).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return counted((rank < evidence.samples).astype(float), evidence.samples)
