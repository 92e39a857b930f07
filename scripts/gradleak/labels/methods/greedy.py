"""Label-by-label extraction of LLG and the methods derived from it (Wainakh et al. 2022, algorithm 1)."""

import numpy as np

from gradleak.labels.evidence import Estimate, counted


def extract(
    signal: np.ndarray, impact: np.ndarray, samples: int, offset: np.ndarray | float = 0.0
) -> Estimate:
    """Every class with a negative ``signal`` once; then the lowest class again and again, until there are N
    labels.

    signal: (D, C), falls by about −``impact`` with each image of a class. impact: < 0, (D, C) or broadcast to
    it; it is subtracted from the signal of a class with every label of this class. offset: the signal of an
    absent class, (C,), subtracted after the first pass. If more than N classes are negative, the N lowest are
    taken.
    """
    signal, impact = np.array(signal, float), np.broadcast_to(impact, signal.shape)
    rank = signal.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    counts = ((signal < 0) & (rank < samples)).astype(int)
    signal -= offset + impact * counts
    rows = np.arange(len(signal))
    for _ in range(samples):
        open_rows = counts.sum(axis=1) < samples
        lowest = signal.argmin(axis=1)
        counts[rows[open_rows], lowest[open_rows]] += 1
        signal[rows[open_rows], lowest[open_rows]] -= impact[rows, lowest][open_rows]
    return counted(counts.astype(float), samples)
