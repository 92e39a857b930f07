"""Reading the private batches: for scoring, and for cells with oracle labels."""

from __future__ import annotations

import numpy as np

from gradleak.files import read_npz


def load_truth(files: list[str], draws: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(x uint8 [T, N, H, W, C], y int [T, N]) of ``draws``."""
    found = {}
    for file in files:
        arrays = read_npz(file)
        found |= {int(d): (x, y) for d, x, y in zip(arrays["draws"], arrays["x"], arrays["y"], strict=True)}
    return np.stack([found[d][0] for d in draws]), np.stack([found[d][1] for d in draws])
