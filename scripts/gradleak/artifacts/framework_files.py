"""Tensors in HDF5, .keras and .safetensors files of an untrusted sender.

Use it in the confined child process alone: HDF5 is read by a C library.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401  it makes bfloat16 known to NumPy, which safetensors asks for it
import numpy as np

from gradleak.artifacts import limits
from gradleak.artifacts.bounded_json import parse_json
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.numpy_files import check_zip
from gradleak.artifacts.tensors import BROKEN, damaged, natural_order, plain_weights, reason

NO_WEIGHTS = ("optimizer", "optimizer_weights", "metrics", "compile_metrics")  # groups beside the layers
CONTAINERS = ("_layer_checkpoint_dependencies", "_self_tracked_trackables")  # Keras 2's names of "layers"


def read_h5(source: Path | BinaryIO, path: Path, most: int = limits.MAX_FILE) -> dict[str, np.ndarray]:
    """Weights of Keras. Links that leave the file, virtual data sets and external storage are refused.

    Names of Keras 3 are ``layers/dense_1/vars/0``: class and number, in an order of their own (see
    ``in_model_order``). Those of Keras 2, and of a whole model in HDF5, are ``dense_1/kernel``: of the layer
    and the variable.
    """
    import h5py

    try:
        with h5py.File(source, "r") as file:
            sets = _datasets(file, h5py, path)
            if "model_weights" in file or any(name.startswith("layer_names") for name in file.attrs):
                sets = _by_layer(sets, path)
            total = sum(one.size * 8 for one in sets.values())
            if total > most:
                raise ArtifactError(f"{path}: unpacks to {total} bytes, more than the limit of {most}")
            loaded = plain_weights({_unified(name): one[()] for name, one in sets.items()}, path)
    except ArtifactError:
        raise
    except (*BROKEN, KeyError, TypeError, UnicodeError, RecursionError, AttributeError) as error:
        raise damaged(path, error) from None
    if not loaded:
        raise ArtifactError(f"{path}: holds no weights")
    return loaded


def _unified(name: str) -> str:
    """The name as Keras 3 writes it. Keras 2 has another container of layers, Windows another separator."""
    container, slash, rest = name.replace("\\", "/").partition("/")
    return f"layers/{rest}" if container in CONTAINERS and slash else f"{container}{slash}{rest}"


def _by_layer(sets: dict[str, Any], path: Path) -> dict[str, Any]:
    """Data sets of Keras 2, by ``dense/kernel`` instead of ``model_weights/dense/dense/kernel:0``."""
    found: dict[str, Any] = {}
    for name, one in sets.items():
        parts = name.removeprefix("model_weights/").split("/")
        short = f"{parts[0]}/{parts[-1].partition(':')[0]}"
        if short in found:
            raise ArtifactError(
                f"{path}: two tensors are {short}; save the weights with "
                "numpy.savez(path, *model.get_weights())"
            )
        found[short] = one
    return found


def read_h5_model(path: Path) -> str | None:
    """The JSON of the model in an HDF5 file with its version of Keras, or None if it holds weights alone."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                return None
            text, version = (_text(file, name, path) for name in ("model_config", "keras_version"))
    except ArtifactError:
        raise
    except (*BROKEN, KeyError, TypeError, UnicodeError, RecursionError, AttributeError) as error:
        raise damaged(path, error) from None
    value = parse_json(text, f"{path}: model_config")
    return json.dumps({"keras_version": version[:20], **value} if isinstance(value, dict) else value)


def _text(file: Any, name: str, path: Path) -> str:
    """An attribute of a file; empty if the file does not have it."""
    if name not in file.attrs:
        return ""
    kept = file.attrs.get_id(name)
    text = file.attrs[name] if kept.shape == () and kept.get_storage_size() <= limits.MAX_JSON else None
    if not isinstance(text, str | bytes):
        raise ArtifactError(f"{path}: its {name} is no text, or too large")
    return text if isinstance(text, str) else text.decode()


def _datasets(file: Any, h5py: Any, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = [("", file, 0)]
    while left:
        prefix, group, depth = left.pop(0)
        for name in group:
            full = f"{prefix}{name}"
            if depth == 0 and name in NO_WEIGHTS:
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
    """(model JSON, weights) of a .keras archive."""
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
        raise damaged(path, error) from None
    return text, read_h5(io.BytesIO(raw), path, most)


def read_safetensors(path: Path, most: int = limits.MAX_FILE) -> dict[str, np.ndarray]:
    """Tensors by name, in natural order of the names (the file's own is by size)."""
    import safetensors

    if path.stat().st_size > most:
        raise ArtifactError(f"{path}: {path.stat().st_size} bytes is more than the limit of {most}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = sorted(file.keys(), key=natural_order)
            if len(names) > limits.MAX_MEMBERS or any(len(name) > limits.MAX_NAME for name in names):
                raise ArtifactError(f"{path}: more or longer names than any model has")
            loaded = plain_weights({name: file.get_tensor(name) for name in names}, path)
    except ArtifactError:
        raise
    except (safetensors.SafetensorError, *BROKEN, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ArtifactError(f"{path}: damaged, cut off, or not float ({reason(error)})") from None
    if not loaded:
        raise ArtifactError(f"{path}: holds no tensors")
    return loaded
