"""The data of the federations."""

from pathlib import Path

import numpy as np
import pytest
from federations import IMAGES, ROUNDS


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Digits of two clients, two new ones in each round."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = np.random.default_rng(1).permutation(len(digits.target))[: 2 * ROUNDS * IMAGES]
    chosen = chosen.reshape(2, ROUNDS, IMAGES)
    x = (digits.images / 16).astype("float32").reshape(-1, 64)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    arrays = {f"x_{c}": x[chosen[c]] for c in (0, 1)} | {f"y_{c}": digits.target[chosen[c]] for c in (0, 1)}
    np.savez(path, **arrays)
    return path
