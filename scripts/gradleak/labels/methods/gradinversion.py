"""The N most negative columns (Yin et al. 2021, "See through Gradients", eq. 8)."""

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted


def estimate(evidence: Evidence) -> Estimate:
    """One image each of the N classes with the smallest min_d g_W[d, c]. Needs non-negative features.

    The method assumes that no class repeats, so more images than classes are beyond it.
    """
    if evidence.samples > evidence.classes:
        raise NotApplicable(
            f"gradinversion assumes that no class repeats; {evidence.samples} images of {evidence.classes} classes do"
        )
    rank = evidence.grad_weight.min(axis=1).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return counted((rank < evidence.samples).astype(float), evidence.samples)
