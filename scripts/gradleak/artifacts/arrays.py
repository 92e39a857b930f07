"""Tensors of a stranger's file → {name: finite float32 array}. Headers are checked before memory is taken.

Run in the child process: it may unpickle object arrays (with the restricted unpickler) and opens HDF5.
"""

from __future__ import annotations

import io
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

BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    MemoryError,
)


def plain_numbers(array: Any, what: str) -> np.ndarray:
    """float32, finite, native byte order."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else f"the type {type(array).__name__}"
        raise ArtifactError(f"{what} has {kind}, not numbers")
    if array.ndim > limits.MAX_RANK:
        raise ArtifactError(f"{what} has {array.ndim} axes")
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.array(array, np.float32, order="C")
    if not np.isfinite(single).all():
        raise ArtifactError(f"{what} holds NaN or Inf, or values too large for float32")
    return single


# --- .npz and .npy ------------------------------------------------------------------------------------------------


def check_zip(archive: zipfile.ZipFile, path: Path, most: int) -> list[zipfile.ZipInfo]:
    """The members, none of which lies about where it belongs or is too large. most: bytes that all may unpack to."""
    members = archive.infolist()
    if len(members) > limits.MAX_MEMBERS:
        raise ArtifactError(f"{path}: {len(members)} members are more than the limit of {limits.MAX_MEMBERS}")
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(set(names)) != len(names):
        raise ArtifactError(f"{path}: two members have the same name")
    for member in members:
        name = member.filename
        if len(name) > limits.MAX_NAME or not name.isprintable():
            raise ArtifactError(f"{path}: a member has a name that no tensor has ({name[:60]!r}…)")
        if (
            name.startswith("/")
            or "\\" in name
            or ".." in PurePosixPath(name).parts
            or re.match("[A-Za-z]:", name)
        ):
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
    """All tensors of an .npz in archive order. One member with an object array of tensors is opened up."""
    try:
        with zipfile.ZipFile(path) as archive:
            loaded = {}
            for member in check_zip(archive, path, most):
                name = member.filename.removesuffix(".npy")
                if not member.filename.endswith(".npy"):
                    raise ArtifactError(f"{path}: {name} is no array")
                with archive.open(member) as stream:
                    loaded[name] = read_array(stream, member.file_size, f"{path}: {name}")
                if not isinstance(loaded[name], np.ndarray) or loaded[name].dtype.hasobject:
                    continue
                loaded[name] = plain_numbers(loaded[name], f"{path}: {name}")
    except ArtifactError:
        raise
    except BROKEN as error:
        raise ArtifactError(
            f"{path}: damaged or cut off ({_reason(error)}); fetch or copy it again"
        ) from None
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
        raise ArtifactError(
            f"{path}: damaged or cut off ({_reason(error)}); fetch or copy it again"
        ) from None


def read_array(stream: BinaryIO, size: int, what: str) -> Any:
    """One .npy of ``size`` bytes. Its header has to promise exactly the bytes that are there.

    Object arrays come unpickled, a 0-d one as what is in it.
    """
    counted = _Counting(stream)
    try:
        version = np.lib.format.read_magic(counted)
        # Version 3 differs from 2 in that names of fields may be in UTF-8, and there are none in plain arrays.
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(counted, max_header_size=4096)
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
        raise ArtifactError(f"{what}: its .npy header cannot be read ({_reason(error)})") from None
    if dtype.hasobject:
        return _unpickled(counted, shape, what)
    if dtype.kind in "SU" and math.prod(shape) == 1 and size < limits.MAX_JSON:  # metadata as a JSON string
        return np.frombuffer(counted.read(size), dtype, count=1).reshape(shape)
    if dtype.kind not in "fiub" or dtype.itemsize > 16 or dtype.subdtype or dtype.names:
        raise ArtifactError(f"{what} has dtype {str(dtype)[:60]}, not numbers")
    declared, there = math.prod(shape) * dtype.itemsize, size - counted.read_so_far
    if declared != there or min(shape, default=1) < 0 or len(shape) > limits.MAX_RANK:
        raise ArtifactError(
            f"{what}: damaged, cut off, or its header lies: it promises {dtype} {list(shape)}, "
            f"{declared} bytes, and {there} are there"
        )
    data = counted.read(declared)
    if len(data) != declared:
        raise ArtifactError(f"{what}: damaged or cut off: {len(data)} of {declared} bytes came")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


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
    """A single object that holds the tensors (a list, an object array, a dict) → the tensors."""
    if len(loaded) == 1 and not _is_numeric(only := next(iter(loaded.values()))):
        loaded = tensors_in(only, f"{path}: {next(iter(loaded))}")
    if not loaded:
        raise ArtifactError(f"{path}: holds no arrays")
    return {name: plain_numbers(array, f"{path}: {name}") for name, array in loaded.items()}


def tensors_in(value: Any, what: str) -> dict[str, np.ndarray]:
    """{name or place: array} of an unpickled container; refuses what is none of tensors."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        value = value.ravel().tolist()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = [(f"arr_{place}", one) for place, one in enumerate(value)]
    else:
        raise ArtifactError(f"{what} has the type {type(value).__name__}, not numbers")
    if len(items) > limits.MAX_MEMBERS:
        raise ArtifactError(f"{what} holds {len(items)} things, more than the limit of {limits.MAX_MEMBERS}")
    return {str(name)[: limits.MAX_NAME]: array for name, array in items}


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


# --- HDF5, .keras, safetensors ------------------------------------------------------------------------------------


def read_h5(source: Path | BinaryIO, path: Path, most: int = limits.MAX_FILE) -> dict[str, np.ndarray]:
    """Keras 3 weights. Links that leave the file, virtual data sets and external storage are refused.

    Names are ``layers/dense_1/vars/0``: class and number, in an order of their own (see ``in_model_order``).
    """
    import h5py

    try:
        with h5py.File(source, "r") as file:
            if "layer_names" in file.attrs or "model_weights" in file:
                raise ArtifactError(
                    f"{path}: HDF5 as Keras 2 wrote it; save with Keras 3 as .weights.h5 or .keras, or "
                    "the weights with numpy.savez(path, *model.get_weights())"
                )
            sets = _datasets(file, h5py, path)
            total = sum(one.size * 8 for one in sets.values())
            if total > most:
                raise ArtifactError(f"{path}: unpacks to {total} bytes, more than the limit of {most}")
            loaded = {name: plain_numbers(one[()], f"{path}: {name}") for name, one in sets.items()}
    except ArtifactError:
        raise
    except (*BROKEN, KeyError, TypeError, UnicodeError, RecursionError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: damaged or cut off ({_reason(error)}); fetch or copy it again"
        ) from None
    if not loaded:
        raise ArtifactError(f"{path}: holds no weights")
    return loaded


def _datasets(file: Any, h5py: Any, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = [("", file, 0)]
    while left:
        prefix, group, depth = left.pop(0)
        for name in group:
            full = f"{prefix}{name}"
            if depth == 0 and name == "optimizer":
                continue
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ArtifactError(f"{path}: {full} is a link out of its place")
            one = group[name]
            if len(found) + len(left) > limits.MAX_MEMBERS or depth > 12:
                raise ArtifactError(f"{path}: more members or levels than any model has")
            if isinstance(one, h5py.Group):
                left.append((f"{full}/", one, depth + 1))
            elif not isinstance(one, h5py.Dataset) or one.is_virtual or one.external:
                raise ArtifactError(f"{path}: {full} takes its content from outside of the file")
            elif one.dtype.kind not in "fiub":
                raise ArtifactError(f"{path}: {full} has dtype {one.dtype}, not numbers")
            elif "seed_generator" not in full:
                found[full] = one
    return found


def read_keras(path: Path, most: int = limits.MAX_FILE) -> tuple[bytes, dict[str, np.ndarray]]:
    """(model JSON, weights) of a Keras 3 archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename: m for m in check_zip(archive, path, 4 * most)}
            config, weights = members["config.json"], members["model.weights.h5"]
            if config.file_size > limits.MAX_JSON:
                raise ArtifactError(
                    f"{path}: config.json is larger than the limit of {limits.MAX_JSON} bytes"
                )
            if weights.file_size > most:
                raise ArtifactError(f"{path}: model.weights.h5 is larger than the limit of {most} bytes")
            text, raw = archive.read(config), archive.read(weights)
    except ArtifactError:
        raise
    except BROKEN as error:
        raise ArtifactError(
            f"{path}: damaged or cut off ({_reason(error)}); fetch or copy it again"
        ) from None
    return text, read_h5(io.BytesIO(raw), path, most)


def read_safetensors(path: Path, most: int = limits.MAX_FILE) -> dict[str, np.ndarray]:
    """Tensors by name, in natural order of the names (the file's own is by size)."""
    import safetensors

    if path.stat().st_size > most:
        raise ArtifactError(f"{path}: {path.stat().st_size} bytes is more than the limit of {most}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = sorted(file.keys(), key=natural)
            if len(names) > limits.MAX_MEMBERS or any(len(name) > limits.MAX_NAME for name in names):
                raise ArtifactError(f"{path}: more or longer names than any model has")
            loaded = {name: plain_numbers(file.get_tensor(name), f"{path}: {name}") for name in names}
    except ArtifactError:
        raise
    except (safetensors.SafetensorError, *BROKEN, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ArtifactError(f"{path}: damaged, cut off, or not float ({_reason(error)})") from None
    if not loaded:
        raise ArtifactError(f"{path}: holds no tensors")
    return loaded


def natural(key: str) -> list:
    """Sort key under which arr_2 comes before arr_10."""
    return [
        (1, int(part), "") if part.isdecimal() and len(part) < 19 else (0, 0, part)
        for part in re.split(r"(\d+)", key)
    ]
