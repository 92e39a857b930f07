"""What methods that find a set of classes, and no counts, have in common."""

import numpy as np

from gradleak.labels.evidence import Estimate, counted


def shared_out(present: np.ndarray, score: np.ndarray, samples: int) -> Estimate:
    """The N images in even shares among the classes ``present`` (D, C).

    One image, or no class found: the class of the lowest ``score`` (D, C). More classes than images: the N lowest.
    """
    rank = np.where(present, score, np.inf).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    present = present & (rank < samples)
    lowest = np.arange(score.shape[1]) == score.argmin(axis=1)[:, None]
    present = np.where((samples == 1) | ~present.any(axis=1, keepdims=True), lowest, present)
    return counted(samples * present / present.sum(axis=1, keepdims=True), samples)
