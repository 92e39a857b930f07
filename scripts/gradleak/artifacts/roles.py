"""The role of each untrusted file (model, weights, delta, metadata), from its content, with the evidence.

Use it in the confined child process alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.artifacts import architecture, framework_files, limits, numpy_files, onnx_model, unpickle
from gradleak.artifacts.architecture import Architecture
from gradleak.artifacts.bounded_json import parse_json
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak
from gradleak.artifacts.onnx_model import Exported
from gradleak.artifacts.sniff import sniff

NEEDED = (
    "needs one model (its JSON, a .keras archive, or an ONNX file), the weights before the round, the delta, "
    "and at most one metadata file"
)


@dataclass(frozen=True)
class Vote:
    """Evidence that one of two files is the delta. delta: its index. weight: of the evidence."""

    delta: int
    weight: int
    why: str


def inspect(files: list[Path], progress: Callable[[Path], None] = lambda _: None) -> Leak:
    """The leak in ``files``. Raises ArtifactError where files are missing, unreadable or ambiguous."""
    kinds = {}
    for path in files:
        progress(path)
        kinds[path] = sniff(path)
    models: dict[Path, Architecture] = {}
    metas: dict[Path, dict] = {}
    tensors: dict[Path, dict[str, np.ndarray]] = {}
    exported = _take_models(kinds, progress, models, metas, tensors)
    whole = list(tensors)  # model and weights in one
    rest = [path for path in kinds if path not in whole]
    archives = [path for path in rest if kinds[path] in ("npz", "h5", "safetensors")]
    if len(models) != 1 or len(metas) > 1 or len(tensors) + len(archives) > 2:
        raise ArtifactError(_found(files, kinds, models, metas))
    model = next(iter(models.values()))
    most = min(limits.MAX_FILE, 8 * model.parameters + (1 << 20))  # every parameter as float64, and headers
    for path in archives:
        progress(path)
        tensors[path] = _read_archive(path, kinds[path], model, most)
    for path in (path for path, kind in kinds.items() if kind == "npy"):
        progress(path)
        _take_npy(path, most, metas, tensors)
    if len(tensors) != 2 or len(metas) > 1:
        raise ArtifactError(_found(files, kinds, models, metas))
    notes = list(model.notes)
    for path, own in tensors.items():
        tensors[path], odd = _without_single_numbers(path, own, model)
        notes += odd
        for one in exported.values():
            tensors[path] = onnx_model.named(tensors[path], one, path)
        _check_amount(path, tensors[path], model)
    delta, before, evidence = find_delta(tensors, model, whole)
    known = {key: name for one in exported.values() for key, name in one.variables.items()}
    what = "the structure in an ONNX file" if exported else "a Keras model by its class_name and config"
    roles = {path: ("model", what) for path in models}
    roles |= {path: ("meta", "a mapping that is no model") for path in metas}
    roles |= {
        delta: ("delta", evidence),
        before: ("model and weights before" if before in models else "weights before", evidence),
    }
    manifest = {
        "files": [_describe(path, kinds[path], *roles[path]) for path in files],
        "notes": notes,
        "parameters": model.parameters,
        **({"variables": known} if known else {}),
    }
    return Leak(model.json, tensors[before], tensors[delta], next(iter(metas.values()), {}), manifest)


def _take_models(
    kinds: dict[Path, str], progress: Callable[[Path], None], models: dict, metas: dict, tensors: dict
) -> dict[Path, Exported]:
    """Read the files that may hold a model into the last three. Returns those of ONNX."""
    exported: dict[Path, Exported] = {}
    for path in (path for path, kind in kinds.items() if kind == "json"):
        progress(path)
        _take_json(path, models, metas)
    for path in (path for path, kind in kinds.items() if kind in ("keras", "h5")):
        progress(path)
        _take_model(path, kinds[path], models, tensors)
    for path in (path for path, kind in kinds.items() if kind == "onnx"):
        progress(path)
        exported[path] = onnx_model.read(path)
        models[path] = exported[path].architecture
    return exported


def inspect_model(path: Path) -> Leak:
    """A model by itself: the JSON, or a .keras archive or HDF5 file with its weights. The delta is empty.

    Raises ArtifactError where the file holds something else.
    """
    kind = sniff(path)
    models: dict[Path, Architecture] = {}
    tensors: dict[Path, dict[str, np.ndarray]] = {}
    if kind == "json":
        _take_json(path, models, {})
    elif kind in ("keras", "h5"):
        _take_model(path, kind, models, tensors)
    if path not in models:
        raise ArtifactError(f"{path}: is no Keras model; save its JSON (model.to_json()) or a .keras archive")
    weights = tensors.get(path, {})
    if path in tensors:
        _check_amount(path, weights, models[path])
    return Leak(models[path].json, weights, {}, {})


def _without_single_numbers(
    path: Path, tensors: dict[str, np.ndarray], model: Architecture
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors that can be weights, and a note on the others.

    No variable is a scalar, and few models have one of a single number. So a counter is left out that was
    saved as a float or as a vector.
    """
    has_single = any(variable.size == 1 for variable in model.variables)
    left = [key for key, a in tensors.items() if not a.ndim or (a.size == 1 and not has_single)]
    note = f"{path.name}: {', '.join(left[:10])} left out, as no variable is a single number"
    return {key: a for key, a in tensors.items() if key not in left}, [note] if left else []


def _check_amount(path: Path, tensors: dict[str, np.ndarray], model: Architecture) -> None:
    """Raise unless a file has as many numbers as one of the sets of variables that people save.

    All; those that are trained; all without the moving statistics (``parameters()`` of PyTorch); all of the
    layers that are trained.
    """
    there = sum(a.size for a in tensors.values())
    trained = sum(v.size for v in model.variables if v.trainable)
    parameters = sum(v.size for v in model.variables if not v.is_statistic)
    layers = {v.layer for v in model.variables if v.trainable}
    of_layers = sum(v.size for v in model.variables if v.layer in layers)
    if there not in (trained, model.parameters, parameters, of_layers):
        untrained = "" if trained == model.parameters else f", {trained} of them trained"
        shapes = ", ".join(f"{key} {list(a.shape)}" for key, a in list(tensors.items())[:12])
        raise ArtifactError(
            f"{path}: holds {there} numbers in {len(tensors)} tensors, the model has {model.parameters} "
            f"parameters{untrained}: it belongs to another model, or is not complete ({shapes})"
        )


def _describe(path: Path, kind: str, role: str, evidence: str) -> dict[str, Any]:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    size = path.stat().st_size
    return {
        "name": path.name,
        "bytes": size,
        "sha256": digest,
        "kind": kind,
        "role": role,
        "evidence": evidence,
    }


def _found(files: list[Path], kinds: dict, models: dict, metas: dict) -> str:
    what = ", ".join(
        f"{path.name} ({'model' if path in models else 'metadata' if path in metas else kinds[path]})"
        for path in files
    )
    folder = files[0].parent if files else "the folder"
    return f"{folder}: {NEEDED}; found {what or 'nothing'}"


def _take_json(path: Path, models: dict, metas: dict) -> None:
    size = path.stat().st_size
    if size > limits.MAX_JSON:
        raise ArtifactError(f"{path}: {size} bytes of JSON are more than the limit of {limits.MAX_JSON}")
    value = parse_json(path.read_bytes(), str(path))
    if isinstance(value, str):  # json.dump(model.to_json()): JSON in JSON
        value = parse_json(value, str(path))
    if architecture.is_model(value):
        models[path] = architecture.read(json.dumps(value), str(path))
    elif isinstance(value, dict):
        metas[path] = unpickle.plain(value, str(path))
    else:
        raise ArtifactError(f"{path}: is a JSON {type(value).__name__}, neither a model nor metadata")


def _take_npy(path: Path, most: int, metas: dict, tensors: dict) -> None:
    """A .npy holds the metadata (a dict, or a JSON string) or an object array of tensors."""
    value = numpy_files.read_npy(path, most)
    if isinstance(value, np.ndarray) and value.dtype.kind in "SU":
        text = value.ravel()[0]
        value = parse_json(text if isinstance(text, bytes) else str(text), str(path))
    if isinstance(value, dict) and not numpy_files.holds_tensors(value):
        metas[path] = unpickle.plain(value, str(path))
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        raise ArtifactError(
            f"{path}: is one plain array of shape {list(value.shape)}; metadata are a dict, and tensors "
            "are saved one by one with numpy.savez"
        )
    elif isinstance(value, dict | list | tuple | np.ndarray):
        tensors[path] = numpy_files.open_up({"it": value}, path)
    else:
        raise ArtifactError(f"{path}: the metadata is a {type(value).__name__}, not a dict")


def _take_model(path: Path, kind: str, models: dict, tensors: dict) -> None:
    """The model and the weights of a .keras archive, or of an HDF5 file that has both."""
    if kind == "keras":
        text, weights = framework_files.read_keras(path)
    elif text := framework_files.read_h5_model(path):
        weights = framework_files.read_h5(path, path)
    else:
        return
    models[path] = architecture.read(text, f"{path}: the model in it")
    tensors[path] = in_model_order(weights, models[path], path)


def _read_archive(path: Path, kind: str, model: Architecture, most: int) -> dict[str, np.ndarray]:
    if kind == "npz":
        return numpy_files.read_npz(path, most)
    if kind == "safetensors":
        return framework_files.read_safetensors(path, most)
    return in_model_order(framework_files.read_h5(path, path, most), model, path)


def in_model_order(weights: dict[str, np.ndarray], model: Architecture, path: Path) -> dict[str, np.ndarray]:
    """Tensors by ``layer/kernel``, in the model's order.

    weights: by the HDF5 groups of Keras 3 and of .keras archives, such as ``layers/dense_1/vars/0`` (class,
    number, place). Those of other HDF5 files have names of layers and variables already.
    """
    if not any("/vars/" in name for name in weights):
        names = [variable.name for variable in model.variables if variable.name in weights]
        return {name: weights[name] for name in names} if len(names) == len(weights) else weights
    places: dict[str, list[str]] = {}
    for name in weights:
        places.setdefault(name.rpartition("/vars/")[0], []).append(name)
    taken: dict[str, np.ndarray] = {}
    by_layer: dict[str, list] = {}
    for variable in model.variables:
        by_layer.setdefault(variable.name.rpartition("/")[0], []).append(variable)
    for layer, group in model.groups.items():
        own = by_layer.get(layer, [])
        keys = [f"{group}/vars/{place}" for place in range(len(own))]
        if any(key not in weights for key in keys):
            raise ArtifactError(
                f"{path}: holds no weights for layer {layer} (expected {keys[0] if keys else group})"
            )
        taken |= {variable.name: weights[key] for variable, key in zip(own, keys, strict=True)}
    left = len(weights) - len(taken)
    if left:
        raise ArtifactError(f"{path}: holds {left} tensors more than the model has")
    return taken


# --- delta or weights? --------------------------------------------------------------------------------------


def find_delta(
    tensors: dict[Path, dict[str, np.ndarray]], model: Architecture, whole: list[Path] = ()
) -> tuple[Path, Path, str]:
    """(delta file, weights file, evidence). The shapes are the same, so the values decide."""
    pair = list(tensors)
    if len(whole) == 1:
        before = whole[0]
        delta = next(path for path in pair if path != before)
        return delta, before, f"{before.name} holds the model with its weights, so the other is the delta"
    first, second = (tensors[path] for path in pair)
    _refuse_before_and_after(pair, first, second)
    votes = list(_votes(first, second, model))
    score = sum(vote.weight if vote.delta else -vote.weight for vote in votes)
    if score == 0:
        reasons = "; ".join(f"{pair[v.delta].name}: {v.why}" for v in votes) or "no difference was found"
        raise ArtifactError(
            f"{pair[0]} and {pair[1]}: the delta cannot be distinguished from the weights ({reasons}). "
            "Give the weights as a .keras archive together with the model, then the other is the delta"
        )
    index = int(score > 0)
    why = "; ".join(vote.why for vote in votes if vote.delta == index)
    against = "; ".join(vote.why for vote in votes if vote.delta != index)
    return (
        pair[index],
        pair[1 - index],
        f"delta by its content: {why}" + (f" (against it: {against})" if against else ""),
    )


def _refuse_before_and_after(pair: list[Path], first: dict, second: dict) -> None:
    """Raise for two files of weights: before and after a round they are almost parallel, a delta is not."""
    if first.keys() == second.keys():
        second = {key: second[key] for key in first}
    if [a.shape for a in first.values()] != [a.shape for a in second.values()]:
        return
    one, other = (np.concatenate([a.ravel() for a in x.values()]).astype(np.float64) for x in (first, second))
    size = np.linalg.norm(one) * np.linalg.norm(other)
    if size > 0 and one @ other / size > 0.9:
        raise ArtifactError(
            f"{pair[0]} and {pair[1]}: both look like weights, before and after the round; "
            "save their difference (after − before) as the delta"
        )


def _votes(first: dict, second: dict, model: Architecture):
    zero = [_zero_sum(x, model) for x in (first, second)]
    if min(zero) < 1e-3 < 10 * max(zero) and min(zero) < 0.1 * max(zero):
        yield Vote(
            int(np.argmin(zero)),
            3,
            "its last kernel sums to zero over the classes, as a softmax's gradient does: "
            f"{min(zero):.1e} against {max(zero):.1e}",
        )
    rank = [_rank_share(x) for x in (first, second)]
    if None not in rank and min(rank) < 0.6 < 0.9 < max(rank):
        yield Vote(
            int(np.argmin(rank)),
            3,
            f"its dense kernels have {min(rank):.0%} of full rank, the other's {max(rank):.0%}",
        )
    dead = [_dead_share(x) for x in (first, second)]
    if max(dead) > 0.003 and min(dead) == 0:
        yield Vote(
            int(np.argmax(dead)),
            2,
            f"{max(dead):.1%} of its kernel entries are exactly zero (unlit pixels and units)",
        )
    flat = [_all_biases_zero(x) for x in (first, second)]
    if flat[0] != flat[1]:
        yield Vote(flat.index(False), 2, "the other has biases of zero, as untrained weights do")
    norms = [
        float(np.sqrt(sum(np.square(a, dtype=float).sum() for a in x.values()))) for x in (first, second)
    ]
    if min(norms) < 0.5 * max(norms):
        yield Vote(int(np.argmin(norms)), 1, f"smaller norm: {min(norms):.2e} against {max(norms):.2e}")


def _zero_sum(x: dict[str, np.ndarray], model: Architecture) -> float:
    """|Σ over classes| / Σ |.| of the last kernel, whichever tensor fits it best; 1 where none does."""
    last = next((v.shape for v in reversed(model.variables) if len(v.shape) == 2), None)
    found = [
        a.T if a.shape != last else a for a in x.values() if a.ndim == 2 and last in (a.shape, a.shape[::-1])
    ]
    ratios = [float(np.abs(a.sum(axis=1)).sum() / np.abs(a).sum()) for a in found if np.abs(a).sum() > 0]
    return min(ratios, default=1.0)


def _rank_share(x: dict[str, np.ndarray]) -> float | None:
    """Lowest numerical rank among wide enough dense kernels, as a share of full."""
    wide = [
        a
        for a in x.values()
        if a.ndim == 2 and 24 <= min(a.shape) <= 1024 and max(a.shape) <= 8192 and np.any(a)
    ]
    shares = []
    for a in sorted(wide, key=lambda a: a.size)[:4]:
        values = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        shares.append(float((values > values[0] * 1e-5 * np.sqrt(max(a.shape) / 100 + 1)).mean()))
    return min(shares, default=None)


def _dead_share(x: dict[str, np.ndarray]) -> float:
    kernels = [a for a in x.values() if a.ndim >= 2]
    size = sum(a.size for a in kernels)
    return sum(int((a == 0).sum()) for a in kernels) / size if size else 0.0


def _all_biases_zero(x: dict[str, np.ndarray]) -> bool:
    biases = [a for a in x.values() if a.ndim == 1]
    return bool(biases) and not any(np.any(a) and not np.all(a == 1) for a in biases)
