"""Labels from a Gaussian model of the logits (RLU).

Chen and Vikalo 2024, "Recovering Labels from Local Updates in Federated Learning",
doi:10.48550/arXiv.2405.00955.
"""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted, softmax, solve_confusion

SAMPLES = 500  # Monte Carlo draws per class
POINTS = 5  # places along the local steps, as in the paper (T = 5)


def estimate(evidence: Evidence) -> Estimate:
    """n from N g_b = (Pᵀ − I) n by least squares, with P[c] = E softmax(z), z ~ N(μ_c, Σ_c) by Monte Carlo.

    μ_c and Σ_c are the moments of the logits of public images of class c. For several local steps they are
    followed along the steps of a shadow client and the softmaxes averaged. Assumes that public and private
    logits of a class have the same moments. (The released code scales the change of the confidence by a
    constant γ and carries an accumulator over; neither is in the paper.)
    """
    public = evidence.public
    paths, labels = evidence.logits(public.features)[None], public.labels
    if evidence.steps > 1:
        if public.path is None:
            raise NotApplicable("rlu follows the logits along the local steps, which were not simulated")
        keep = np.linspace(0, len(public.path) - 1, min(POINTS, len(public.path))).round().astype(int)
        paths, labels = public.path[keep], public.path_labels
    noise = np.random.default_rng(0).standard_normal((SAMPLES, evidence.classes))
    matrix = np.mean([_confusion(logits, labels, noise) for logits in paths], axis=0)
    return counted(solve_confusion(matrix, evidence.grad_bias, evidence.samples), evidence.samples)


def _confusion(logits: np.ndarray, labels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Mean softmax per class of Gaussian logits with the moments of ``logits`` (P, C): (C, C)."""
    rows = []
    for c in range(logits.shape[1]):
        own = logits[labels == c].astype(float) if (labels == c).sum() > 1 else logits.astype(float)
        values, vectors = np.linalg.eigh(np.cov(own.T))
        root = vectors * np.sqrt(np.maximum(values, 0))
        rows.append(softmax(own.mean(axis=0) + noise @ root.T).mean(axis=0))
    return np.stack(rows)
