"""IDX files, the format in which MNIST was published."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from gradleak.datasets import limits
from gradleak.datasets.errors import DataError

NAME = re.compile(r"(?:.+-)?train-(images|labels)[-.]idx\d-ubyte(?:\.gz)?")  # also EMNIST's, with a prefix
FILES = {"images": ("train-images-idx3-ubyte", 3), "labels": ("train-labels-idx1-ubyte", 1)}


def is_idx(folder: Path) -> bool:
    """Whether a folder has files with names of IDX files."""
    return any(NAME.fullmatch(path.name) for path in folder.iterdir())


def read_idx(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Training images uint8 (n, H, W, 1) and labels int64 (n,) from the IDX files, plain or .gz.

    Raises DataError that names the file and what is wrong with it.
    """
    x, y = (_read_idx_file(_found(Path(folder), kind), FILES[kind][1]) for kind in FILES)
    if len(x) != len(y):
        raise DataError(f"{folder}: {len(x)} images but {len(y)} labels")
    return x[..., None], y.astype(np.int64)


def _found(folder: Path, kind: str) -> Path:
    """The file of the published name, or else the one with a prefix or a dot in its name."""
    name, _ = FILES[kind]
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [path for path in there if (m := NAME.fullmatch(path.name)) and m[1] == kind]
    if len(others) > 1:
        raise DataError(
            f"{folder}: {' and '.join(p.name for p in others)} are both {kind}; leave one of them"
        )
    if not others:
        raise DataError(f"{folder / name}[.gz] not found: point datasets.<name>.path at the IDX files")
    return others[0]


def _read_idx_file(path: Path, dims: int) -> np.ndarray:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as handle:
            raw = handle.read(limits.MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error}); copy it again") from None
    if len(raw) > limits.MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than the limit of {limits.MAX_BYTES} bytes")
    header = struct.calcsize(f">4B{dims}I")
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, dims)):
        raise DataError(f"{path}: not an IDX file of {dims}-dimensional bytes")
    shape = struct.unpack(f">{dims}I", raw[4:header])
    if len(raw) - header != math.prod(shape):
        raise DataError(f"{path}: header promises {shape}, but {len(raw) - header} bytes follow")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
