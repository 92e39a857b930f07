"""The four files of a leak."""

import numpy as np
import pytest
from leak_files import META, MODEL, sgd_delta, weights


@pytest.fixture
def leak(tmp_path, rng):
    """(folder with the four files, weights before, delta)."""
    before, delta = ([a.astype(np.float32) for a in make(rng)] for make in (weights, sgd_delta))
    folder = tmp_path / "leak"
    folder.mkdir()
    (folder / "model.json").write_bytes(MODEL)
    np.savez(folder / "weights_before.npz", *before)
    np.savez(folder / "delta.npz", *delta)
    np.save(folder / "meta.npy", np.array(META, dtype=object), allow_pickle=True)
    return folder, before, delta
