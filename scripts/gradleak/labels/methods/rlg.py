"""Which classes are present, by linear programming on the row space of the gradient (RLG).

Dang et al. 2021, "Revealing and Protecting Labels in Distributed Training", doi:10.48550/arXiv.2111.00556.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable
from gradleak.labels.methods.presence import shared_out

RANK_TOLERANCE = 3e-6  # of the largest singular value: float32 deltas of small steps are no better


def estimate(evidence: Evidence) -> Estimate:
    """Class c is present if and only if the row space of g_W has a vector that is negative in c and positive
    elsewhere.

    The N < C rows p_i − e_{y_i} span the row space, and each is such a vector for its own label. From C − 1
    dimensions on every class passes, so the method needs N < C and raises NotApplicable otherwise. Gives a
    set and no counts.
    """
    if evidence.samples >= evidence.classes:
        raise NotApplicable(f"rlg needs fewer images than classes: {evidence.samples} of {evidence.classes}")
    present = np.stack([_present(gradient) for gradient in evidence.grad_weight.astype(float)])
    return shared_out(present, evidence.grad_weight.sum(axis=1), evidence.samples)


def _present(gradient: np.ndarray) -> np.ndarray:
    """(d, C) → bool (C,)."""
    _, singular, rows = np.linalg.svd(gradient, full_matrices=False)
    basis = rows[singular > RANK_TOLERANCE * singular[0]].T  # (C, rank)
    signs = np.ones(len(basis)) - 2 * np.eye(len(basis))
    return np.array([_separates(sign[:, None] * basis) for sign in signs])


def _separates(rows: np.ndarray) -> bool:
    """Whether some r has rows · r > 0 in every entry: maximise the least entry over the unit box."""
    from scipy.optimize import linprog  # slow to import, and the workflow parses this

    size, rank = rows.shape
    system = np.hstack([-rows, np.ones((size, 1))])
    found = linprog(
        [*np.zeros(rank), -1.0], A_ub=system, b_ub=np.zeros(size), bounds=[*[(-1, 1)] * rank, (None, 1)]
    )
    return bool(found.status == 0 and -found.fun > 1e-7)
