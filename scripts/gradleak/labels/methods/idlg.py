"""Signs of the last layer's gradient (Zhao et al. 2020, "iDLG")."""

from gradleak.labels.evidence import Estimate, Evidence
from gradleak.labels.methods.presence import shared_out


def estimate(evidence: Evidence) -> Estimate:
    """Classes whose column of g_W sums to less than zero are present; one image: the most negative one.

    The paper is about one image; for a batch this is the baseline in use: presence by sign, no counts, so the
    N images are shared out evenly among the classes found. Needs non-negative features (ReLU, sigmoid).
    """
    sums = evidence.grad_weight.sum(axis=1)
    return shared_out(sums < 0, sums, evidence.samples)
