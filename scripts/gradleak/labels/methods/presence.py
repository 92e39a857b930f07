"""Counts from a set of present classes, for methods that find no counts."""

import numpy as np

from gradleak.labels.evidence import Estimate, counted


def shared_out(present: np.ndarray, score: np.ndarray, samples: int) -> Estimate:
    """The N images in even shares among the classes ``present`` (D, C).

    For one image, or where no class is present: the class of the lowest ``score`` (D, C). If more than N
    classes are present, the N with the lowest score are taken.
    """
    rank = np.where(present, score, np.inf).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    present = present & (rank < samples)
    lowest = np.arange(score.shape[1]) == score.argmin(axis=1)[:, None]
    present = np.where((samples == 1) | ~present.any(axis=1, keepdims=True), lowest, present)
    return counted(samples * present / present.sum(axis=1, keepdims=True), samples)
