"""A leak in plain form: arrays and JSON, the only form that is kept under results/.

``model.json`` (Keras JSON), ``weights_before.npz``, ``delta.npz``, ``meta.json``. A leak that came from
outside also has ``manifest.json``: the files as they arrived, with sizes, hashes, roles and the evidence for
each role.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.artifacts.bounded_json import parse_json
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.tensors import BROKEN, plain_numbers
from gradleak.files import write_json, write_npz

FILES = ("model.json", "weights_before.npz", "delta.npz", "meta.json")


@dataclass(frozen=True)
class Leak:
    """The artifacts of one draw. Tensors keep the order and the keys of their file."""

    model_json: str
    before: dict[str, np.ndarray]
    delta: dict[str, np.ndarray]
    meta: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)


def write_leak(folder: Path, leak: Leak) -> None:
    """The files of ``leak`` in ``folder``; the same leak gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(leak.model_json, encoding="utf-8")
    for name, tensors in (("weights_before", leak.before), ("delta", leak.delta)):
        # The keys are untrusted and would become names of archive members, so they are stored as data.
        write_npz(
            folder / f"{name}.npz",
            keys=np.array(list(tensors), dtype=np.str_),
            **{f"arr_{i}": a for i, a in enumerate(tensors.values())},
        )
    write_json(folder / "meta.json", leak.meta)
    if leak.manifest:
        write_json(folder / "manifest.json", leak.manifest)


def read_leak(folder: str | Path) -> Leak:
    """The leak that ``write_leak`` left in ``folder``. Nothing is unpickled.

    Tensors are checked again. The model's JSON is only parsed: ``mapping.classifier`` checks it before it is
    built. Raises ArtifactError where a file is missing or damaged.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(f"{folder}: {', '.join(missing)} is missing; remove the folder and run again")
    manifest = folder / "manifest.json"
    raw = (folder / "model.json").read_bytes()
    parse_json(raw, str(folder / "model.json"))
    return Leak(
        raw.decode("utf-8-sig"),
        _read_tensors(folder / "weights_before.npz"),
        _read_tensors(folder / "delta.npz"),
        _read_dict(folder / "meta.json"),
        _read_dict(manifest) if manifest.is_file() else {},
    )


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = [str(key) for key in file["keys"].ravel()]
            return {key: plain_numbers(file[f"arr_{i}"], f"{path}: {key}") for i, key in enumerate(keys)}
    except (*BROKEN, KeyError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); remove its folder and run again") from None


def _read_dict(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); remove its folder and run again") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: is no mapping; remove its folder and run again")
    return value
