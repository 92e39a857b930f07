"""Files are written whole or not at all, and equal data gives equal bytes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it becomes ``path``, on failure it is removed.

    The temporary name keeps the suffix, since writers such as ``numpy.savez`` and ``savefig`` go by it, and
    is unique, since two processes may write the same output (a restarted scheduler, a node thought dead).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """The same for a whole folder."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        while not _placed(temporary, path):
            _remove_whole(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _placed(folder: Path, path: Path) -> bool:
    """Rename ``folder`` to ``path``, unless a folder with something in it is there."""
    try:
        os.replace(folder, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _remove_whole(path: Path) -> None:
    """Take a folder away in one step, so that it is never seen with half of its files."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        os.replace(path, aside)
        shutil.rmtree(aside)


def write_npz(path: str | Path, /, **arrays: Any) -> None:
    """Arrays, uncompressed and without timestamps, so equal arrays are equal bytes. Objects are refused."""
    checked = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in checked.items():
        if array.dtype == object:
            raise TypeError(f"{path}: {name} is an object array; only plain arrays are written")
    with replacing(path) as temporary:
        np.savez(temporary, **checked)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file of our own making. Nothing is ever unpickled."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_json(path: str | Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, default=_plain) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_sums(path: str | Path, folder: Path) -> None:
    """The SHA-256 of every file below ``folder`` but hidden ones, in the format of ``sha256sum``."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    sums = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()) for file in files}
    with replacing(path) as temporary:
        lines = [f"{sums[name].hexdigest()}  {name}\n" for name in sorted(sums)]
        temporary.write_text("".join(lines), encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")
