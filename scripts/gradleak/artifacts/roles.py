"""Untrusted files → checked arrays. Roles go by content, never by name, and nothing is ever freely unpickled.

A leak is four files in a folder: the model (Keras JSON), the weights before the round (.npz), the shared delta
(.npz), and optional metadata (.npy with a dict, or JSON).
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.errors import Expected

MAX_BYTES = 2 << 30


class ArtifactError(Expected):
    """A file that cannot be used: which one, why, and what to do."""


@dataclass(frozen=True)
class Leak:
    """The artifacts of one draw. Arrays keep their archive's order and keys."""

    model_json: str
    before: dict[str, np.ndarray]
    delta: dict[str, np.ndarray]
    meta: dict[str, Any]
    roles: dict[str, str] = field(default_factory=dict)  # role → file name and the evidence for it


def sniff(path: Path) -> str:
    """npz, npy or json by the first bytes; an ArtifactError for anything else."""
    size = path.stat().st_size
    if size == 0:
        raise ArtifactError(f"{path}: the file is empty; fetch or copy it again")
    if size > MAX_BYTES:
        raise ArtifactError(f"{path}: {size} bytes is more than the limit of {MAX_BYTES}")
    with path.open("rb") as handle:
        head = handle.read(512)
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.lstrip().startswith(b"{"):
        return "json"
    if head.lstrip().startswith(b"<"):
        raise ArtifactError(
            f"{path}: this is a web page (a sign-in or quota page?), not an artifact; download it by hand"
        )
    if head.startswith(b"\x80"):
        raise ArtifactError(
            f"{path}: this is a bare pickle, which could run code; save plain arrays with numpy.savez instead"
        )
    raise ArtifactError(f"{path}: not an .npz, .npy or JSON file (starts with {head[:8]!r})")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz in archive order, as finite float32."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if len(set(names)) != len(names):
                raise ArtifactError(f"{path}: two members have the same name")
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise ArtifactError(f"{path}: unpacks to more than the limit of {MAX_BYTES} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    except ArtifactError:
        raise
    except ValueError as error:
        raise ArtifactError(f"{path}: holds something other than plain numeric arrays ({error}); "
                            "save one plain array per tensor with numpy.savez") from None  # fmt: skip
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, MemoryError) as error:
        # RuntimeError: zipfile's word for a password or an unknown compression.
        raise ArtifactError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None
    if not loaded:
        raise ArtifactError(f"{path}: holds no arrays")
    return {name: _plain_numbers(array, f"{path}: {name}") for name, array in loaded.items()}


def _plain_numbers(array: Any, what: str) -> np.ndarray:
    """float32, finite. A member of an archive that is no .npy comes as bytes."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else "a format of its own"
        raise ArtifactError(f"{what} has {kind}, not numbers")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise ArtifactError(f"{what} holds NaN or Inf, or values too large for float32")
    return single


class _PlainUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and scalars and nothing else: an exact allowlist, no module is open as a whole."""

    ALLOWED = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"refuses {module}.{name}")
        return super().find_class(module, name)


def read_meta(path: Path) -> dict[str, Any]:
    """The metadata dict of a .npy file (a 0-d object array, as numpy.save writes a dict) or of a JSON file."""
    raw = path.read_bytes()
    try:
        if sniff(path) == "json":
            meta = json.loads(raw)
        else:
            stream = io.BytesIO(raw)
            version = np.lib.format.read_magic(stream)
            read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[
                version[0]
            ]
            _, _, dtype = read_header(stream)
            array = (
                _PlainUnpickler(stream).load()
                if dtype.hasobject
                else np.load(io.BytesIO(raw), allow_pickle=False)
            )
            meta = array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
            meta = json.loads(meta) if isinstance(meta, str) else meta
    except (
        pickle.UnpicklingError, ValueError, LookupError, EOFError, AttributeError, TypeError, ImportError,
        MemoryError, OverflowError, RecursionError,
    ) as error:  # all that a damaged or hostile pickle of allowed names can raise  # fmt: skip
        raise ArtifactError(
            f"{path}: the metadata cannot be read safely ({error}); it is optional: move the file away"
        ) from None
    if not isinstance(meta, dict):
        raise ArtifactError(f"{path}: the metadata is a {type(meta).__name__}, not a dict")
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in meta.items()}


def read_leak(folder: str | Path) -> Leak:
    """The leak in ``folder``. Raises ArtifactError where files are missing, unreadable or ambiguous."""
    files = sorted(p for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith("."))
    kinds = {path: sniff(path) for path in files}
    models, metas = [], [path for path, kind in kinds.items() if kind == "npy"]
    for path in (path for path, kind in kinds.items() if kind == "json"):
        (models if _is_model(path) else metas).append(path)
    archives = [path for path, kind in kinds.items() if kind == "npz"]
    if len(models) != 1 or len(archives) != 2 or len(metas) > 1:
        raise ArtifactError(
            f"{folder}: needs one model JSON, two .npz (weights before, delta) and at most one metadata file; found "
            f"{len(models)} model, {len(archives)} .npz, {len(metas)} metadata in {[path.name for path in files]}"
        )
    arrays = {path: read_arrays(path) for path in archives}
    delta, before, evidence = tell_delta(*arrays.items())
    roles = {"model": models[0].name, "delta": f"{delta.name} ({evidence})", "before": before.name}
    if metas:
        roles["meta"] = metas[0].name
    meta = read_meta(metas[0]) if metas else {}
    return Leak(models[0].read_text(), arrays[before], arrays[delta], meta, roles)


def _is_model(path: Path) -> bool:
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error})") from None
    return isinstance(value, dict) and isinstance(value.get("config"), dict) and "class_name" in value


def tell_delta(first: tuple[Path, dict], second: tuple[Path, dict]) -> tuple[Path, Path, str]:
    """(delta file, weights file, evidence). Both hold equal shapes, so the arrays themselves must tell.

    The softmax's gradient sums to zero over classes, so does every row of the last kernel's delta under SGD, and
    those of the weights do not. Where that does not tell (Adam), the delta is the one of smaller norm.
    """
    scores = [_zero_sum(arrays) for _, arrays in (first, second)]
    norms = [
        float(np.sqrt(sum(np.square(a, dtype=float).sum() for a in arrays.values())))
        for _, arrays in (first, second)
    ]
    if min(scores) < 1e-3 < 10 * max(scores) and min(scores) < 0.1 * max(scores):
        index, evidence = (
            int(np.argmin(scores)),
            f"rows of its last kernel sum to zero: {min(scores):.1e} against {max(scores):.1e}",
        )
    elif min(norms) < 0.5 * max(norms):
        index, evidence = int(np.argmin(norms)), f"smaller norm: {min(norms):.2e} against {max(norms):.2e}"
    else:
        raise ArtifactError(f"{first[0]} and {second[0]}: cannot tell the delta from the weights "
                            f"(norms {norms[0]:.2e} and {norms[1]:.2e})")  # fmt: skip
    pair = (first[0], second[0])
    return pair[index], pair[1 - index], evidence


def _zero_sum(arrays: dict[str, np.ndarray]) -> float:
    """|Σ over classes| / Σ |.| of the last matrix; 1 where there is none.

    The last in natural order of the keys or in the archive's own, whichever comes closer to zero.
    """
    matrices = [arrays[key] for key in sorted(arrays, key=natural) if arrays[key].ndim == 2]
    by_order = [a for a in arrays.values() if a.ndim == 2]
    candidates = [m for m in (matrices[-1:] + by_order[-1:]) if np.abs(m).sum() > 0]
    return min((float(np.abs(m.sum(axis=1)).sum() / np.abs(m).sum()) for m in candidates), default=1.0)


def natural(key: str) -> list:
    """Sort key under which arr_2 comes before arr_10."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", key)]


def write_leak(
    folder: Path, model_json: str, before: list[np.ndarray], delta: list[np.ndarray], meta: dict
) -> None:
    """The four artifacts as the seed notebook's client wrote them (the metadata is a 0-d object array)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(model_json)
    np.savez(folder / "weights_before.npz", *before)
    np.savez(folder / "delta.npz", *delta)
    np.save(folder / "meta.npy", np.array(meta, dtype=object), allow_pickle=True)
