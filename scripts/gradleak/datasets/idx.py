"""IDX files, the format in which MNIST was published."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def read_idx(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Training images uint8 (n, H, W, 1) and labels int64 (n,) from the IDX files, plain or .gz.

    Raises FileNotFoundError / ValueError that name the file and what is wrong with it.
    """
    x = _read_idx_file(Path(folder), "train-images-idx3-ubyte", 3)
    y = _read_idx_file(Path(folder), "train-labels-idx1-ubyte", 1)
    if len(x) != len(y):
        raise ValueError(f"{folder}: {len(x)} images but {len(y)} labels")
    return x[..., None], y.astype(np.int64)


def _read_idx_file(folder: Path, stem: str, dims: int) -> np.ndarray:
    for path, opener in ((folder / stem, open), (folder / f"{stem}.gz", gzip.open)):
        if path.exists():
            with opener(path, "rb") as handle:
                raw = handle.read()
            break
    else:
        raise FileNotFoundError(
            f"{folder / stem}[.gz] not found: point datasets.<name>.path at the IDX files"
        )
    header = struct.calcsize(f">4B{dims}I")
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, dims)):
        raise ValueError(f"{path}: not an IDX file of {dims}-dimensional bytes")
    shape = struct.unpack(f">{dims}I", raw[4:header])
    if len(raw) - header != int(np.prod(shape)):
        raise ValueError(f"{path}: header promises {shape}, but {len(raw) - header} bytes follow")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
