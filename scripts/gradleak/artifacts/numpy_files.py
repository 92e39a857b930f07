"""Tensors in .npz and .npy files of an untrusted sender. Headers are checked before memory is allocated.

Use it in the confined child process alone: it unpickles object arrays (with the restricted unpickler).
``check_zip``, ``read_header``, and ``read_array`` where the header declares numbers, unpickle nothing.
"""

from __future__ import annotations

import math
import re
import tokenize
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from gradleak.artifacts import limits, unpickle
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.tensors import BROKEN, damaged, from_bfloat16, plain_weights, reason


def check_zip(archive: zipfile.ZipFile, path: Path, most: int) -> list[zipfile.ZipInfo]:
    """The members of a zip, after a check of their names, number and size. most: bytes of all, unpacked."""
    members = archive.infolist()
    if len(members) > limits.MAX_MEMBERS:
        raise ArtifactError(f"{path}: {len(members)} members are more than the limit of {limits.MAX_MEMBERS}")
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(set(names)) != len(names):
        raise ArtifactError(f"{path}: two members have the same name")
    for member in members:
        name = member.filename.replace("\\", "/")  # as Windows writes them
        if len(name) > limits.MAX_NAME or not name.isprintable():
            raise ArtifactError(f"{path}: a member has a name that no tensor has ({name[:60]!r}…)")
        if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match("[A-Za-z]:", name):
            raise ArtifactError(f"{path}: the member {name!r} points out of the archive")
        if member.flag_bits & 1:
            raise ArtifactError(f"{path}: {name} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArtifactError(f"{path}: {name} is compressed in a way that numpy does not write")
    total = sum(member.file_size for member in members)
    if total > most:
        raise ArtifactError(f"{path}: unpacks to {total} bytes, more than the limit of {most}")
    return members


def read_npz(path: Path, most: int = limits.MAX_FILE) -> dict[str, np.ndarray]:
    """All weights of an .npz in archive order. Object arrays of tensors are opened up."""
    try:
        with zipfile.ZipFile(path) as archive:
            loaded = {}
            for member in check_zip(archive, path, most):
                name = member.filename.removesuffix(".npy")
                if not member.filename.endswith(".npy"):
                    raise ArtifactError(f"{path}: {name} is no array")
                with archive.open(member) as stream:
                    loaded[name] = read_array(stream, member.file_size, f"{path}: {name}")
    except ArtifactError:
        raise
    except BROKEN as error:
        raise damaged(path, error) from None
    return open_up(loaded, path)


def read_npy(path: Path, most: int = limits.MAX_FILE) -> Any:
    """The array of an .npy, or what is pickled in it if it is of objects."""
    size = path.stat().st_size
    if size > most:
        raise ArtifactError(f"{path}: {size} bytes is more than the limit of {most}")
    try:
        with path.open("rb") as stream:
            return read_array(stream, size, str(path))
    except ArtifactError:
        raise
    except BROKEN as error:
        raise damaged(path, error) from None


def read_array(stream: BinaryIO, size: int, what: str) -> Any:
    """One .npy of ``size`` bytes. Its header has to promise exactly the bytes that are there.

    Object arrays come unpickled, a 0-d one as what is in it.
    """
    counted = _Counting(stream)
    shape, fortran, dtype = read_header(counted, what)
    if dtype.hasobject:
        return _unpickled(counted, shape, what)
    if dtype.kind in "SU" and math.prod(shape) == 1 and size < limits.MAX_JSON:  # metadata as a JSON string
        return np.frombuffer(counted.read(size), dtype, count=1).reshape(shape)
    is_bfloat16 = dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names and not dtype.subdtype
    if is_bfloat16:  # numpy.save writes the dtype of ml_dtypes so
        dtype = np.dtype("<u2")
    if dtype.kind not in "fiub" or dtype.itemsize > 16 or dtype.subdtype or dtype.names:
        raise ArtifactError(f"{what} has dtype {str(dtype)[:60]}, not numbers; save it as float32")
    declared, there = math.prod(shape) * dtype.itemsize, size - counted.read_so_far
    if declared != there or min(shape, default=1) < 0 or len(shape) > limits.MAX_RANK:
        raise ArtifactError(
            f"{what}: damaged, cut off, or its header lies: it promises {dtype} {list(shape)}, "
            f"{declared} bytes, and {there} are there"
        )
    data = counted.read(declared)
    if len(data) != declared:
        raise ArtifactError(f"{what}: damaged or cut off: {len(data)} of {declared} bytes came")
    flat = np.frombuffer(data, dtype)
    return (from_bfloat16(flat) if is_bfloat16 else flat).reshape(shape, order="F" if fortran else "C")


def read_header(stream: Any, what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran's order, dtype) that an .npy declares. Nothing of the data is read."""
    try:
        version = np.lib.format.read_magic(stream)
        # Version 3 differs from 2 in that names of fields may be in UTF-8, and there are none in plain
        # arrays.
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        return reader(stream, max_header_size=4096)
    except (
        ValueError,
        EOFError,
        SyntaxError,
        TypeError,
        RecursionError,
        MemoryError,
        zlib.error,
        tokenize.TokenError,
    ) as error:
        raise ArtifactError(f"{what}: its .npy header cannot be read ({reason(error)})") from None


class _Counting:
    """A stream that knows how many bytes were read."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.read_so_far = stream, 0

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.read_so_far += len(data)
        return data

    def readline(self) -> bytes:
        data = self.stream.readline()
        self.read_so_far += len(data)
        return data


def _unpickled(stream: _Counting, shape: tuple, what: str) -> Any:
    found = unpickle.load(stream, what)
    if isinstance(found, np.ndarray) and found.ndim == 0 and found.dtype.hasobject:
        return found.item()
    return found


def open_up(loaded: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The weights in members that are arrays, or hold them: a list, an object array, a dict, or nested ones.

    What is nested has the names of the dicts on its way, as ``layer/kernel``; what lies in lists alone is
    numbered.
    """
    held = next(iter(loaded.values())) if len(loaded) == 1 else loaded
    found: dict[str, Any] = {}
    for way, value in leaves(loaded if _is_numeric(held) else held, str(path)):
        numbered = not any(isinstance(part, str) for part in way)
        name = f"arr_{len(found)}" if numbered else "/".join(map(str, way))[: limits.MAX_NAME]
        if name in found:
            raise ArtifactError(f"{path}: two tensors have the name {name!r}")
        found[name] = value
    if not found:
        raise ArtifactError(f"{path}: holds no arrays")
    return plain_weights(found, path)


def leaves(value: Any, what: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """All that a nested container holds, each with the names and places on its way.

    Size and depth are bounded. Empty containers, and None, are layers without weights.
    """
    found: list[tuple[tuple[str | int, ...], Any]] = []
    left: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    seen = 0
    while left:
        way, one = left.pop()
        seen += 1
        if seen > 2 * limits.MAX_MEMBERS or len(way) > limits.MAX_DEPTH:
            raise ArtifactError(
                f"{what}: holds more than {limits.MAX_MEMBERS} things, or is nested deeper than "
                f"{limits.MAX_DEPTH}; save plain arrays with numpy.savez"
            )
        if isinstance(one, np.ndarray) and one.dtype.hasobject:
            inside = one.ravel().tolist()
            # NumPy makes single numbers of a list of arrays of one shape; they are refused as they are.
            one = one if inside and all(isinstance(x, int | float) for x in inside) else inside
        if isinstance(one, dict):
            inner: list[tuple[str | int, Any]] = [(str(key), held) for key, held in one.items()]
        elif isinstance(one, list | tuple):
            inner = list(enumerate(one))
        else:
            found += [] if one is None else [(way, one)]
            continue
        left += [((*way, key), held) for key, held in reversed(inner)]
    return found


def holds_tensors(value: dict) -> bool:
    """Whether a pickled dict holds arrays alone, and a matrix or kernel among them; else it is metadata."""
    try:
        arrays = [one for _, one in leaves(value, "it")]
    except ArtifactError:
        return False
    return all(isinstance(a, np.ndarray) for a in arrays) and any(a.ndim >= 2 for a in arrays)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject
