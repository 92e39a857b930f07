"""The binary version of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): training files
``data_batch_*.bin``, or ``train.bin``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gradleak.datasets import limits
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples

PIXELS = 3 * 32 * 32
# Bytes before the pixels of a record, of which the last is the label; classes; file with their names.
BATCHES = re.compile(r"data_batch_\d+\.bin")
CIFAR_10, CIFAR_100 = (1, 10, "batches.meta.txt"), (2, 100, "fine_label_names.txt")


def is_cifar(folder: Path) -> bool:
    """Whether a folder has files with names of CIFAR's training files."""
    return bool(_batches(folder)) or (folder / "train.bin").is_file()


def _batches(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if BATCHES.fullmatch(path.name))


def read_cifar(folder: str | Path) -> tuple[Examples, tuple[str, ...]]:
    """The training examples, uint8 (n, 32, 32, 3), and the names of the classes if the folder has them.

    Raises DataError with the file.
    """
    folder = Path(folder)
    if not folder.is_dir() or not is_cifar(folder):
        raise DataError(
            f"{folder}: no data_batch_*.bin or train.bin in it; point datasets.<name>.path at the folder of "
            "the binary version"
        )
    files = _batches(folder)
    before, classes, names = CIFAR_10 if files else CIFAR_100
    parts = [_records(path, before, classes) for path in files or [folder / "train.bin"]]
    records = np.concatenate(parts)
    x = records[:, before:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Examples(np.ascontiguousarray(x), records[:, before - 1].astype(np.int64), classes), _names(
        folder / names, classes
    )


def _records(path: Path, before: int, classes: int) -> np.ndarray:
    """uint8 (n, before + 3072)."""
    size, record = path.stat().st_size, before + PIXELS
    if not size or size % record or size > limits.MAX_BYTES:
        raise DataError(f"{path}: {size} bytes are not whole records of {record} bytes; copy it again")
    found = np.fromfile(path, np.uint8).reshape(-1, record)
    wrong = np.flatnonzero(found[:, before - 1] >= classes)
    if len(wrong):
        raise DataError(
            f"{path}: record {wrong[0]} has the label {found[wrong[0], before - 1]}, and CIFAR-{classes} has "
            f"0 to {classes - 1}"
        )
    return found


def _names(path: Path, classes: int) -> tuple[str, ...]:
    if not path.is_file() or path.stat().st_size > 1 << 16:
        return ()
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    return names if len(names) == classes else ()
