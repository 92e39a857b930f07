"""Labels from a Gaussian model of the logits (Chen & Vikalo 2024, "Recovering Labels from Local Updates", RLU)."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, NotApplicable, counted, softmax, solve_confusion

SAMPLES = 500  # Monte Carlo draws per class
POINTS = 5  # places along the local steps, as in the paper (T = 5)


def estimate(evidence: Evidence) -> Estimate:
    """Logits of class c ~ N(μ_c, Σ_c) from public images; their mean softmax by Monte Carlo; least squares for n.

    For several local steps μ and Σ are followed along a virtual client's steps and the softmaxes averaged. (The released
    code scales the shift of the confidence by a constant γ and carries an accumulator over; neither is in the paper.)
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
