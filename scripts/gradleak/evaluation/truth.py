"""Reading the private batches: for scoring, and for cells with oracle labels."""

from __future__ import annotations

import numpy as np

from gradleak.files import read_npz


def class_counts(y: np.ndarray, classes: int) -> np.ndarray:
    """Images of each class int [C], of y int [N]; or images that have each label, of y multi-hot [N, C]."""
    return np.bincount(y, minlength=classes) if y.ndim == 1 else y.sum(axis=0, dtype=np.int64)


def load_truth(files: list[str], draws: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(x uint8 [T, N, H, W, C], y int [T, N], or multi-hot uint8 [T, N, C]) of ``draws``."""
    found = {}
    for file in files:
        arrays = read_npz(file)
        found |= {int(d): (x, y) for d, x, y in zip(arrays["draws"], arrays["x"], arrays["y"], strict=True)}
    return np.stack([found[d][0] for d in draws]), np.stack([found[d][1] for d in draws])
