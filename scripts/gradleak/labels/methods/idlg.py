"""Signs of the last layer's gradient (iDLG).

Zhao, Mopuri and Bilen 2020, "iDLG: Improved Deep Leakage from Gradients", doi:10.48550/arXiv.2001.02610.
"""

from gradleak.labels.evidence import Estimate, Evidence
from gradleak.labels.methods.presence import shared_out


def estimate(evidence: Evidence) -> Estimate:
    """Class c is present if Σ_d g_W[d, c] < 0; of one image it is the class of the lowest sum.

    The paper treats one image. For a batch this is the usual baseline: signs say which classes are present,
    and the N images are shared out evenly among them. Assumes non-negative features (ReLU, sigmoid).
    """
    sums = evidence.grad_weight.sum(axis=1)
    return shared_out(sums < 0, sums, evidence.samples)
