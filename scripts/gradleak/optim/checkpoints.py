"""A run's state on disk: one file, replaced whole, that only the run it belongs to picks up again."""

import hashlib
import json
import logging
import zipfile
from pathlib import Path

import numpy as np

from gradleak.files import read_npz, write_npz

log = logging.getLogger("gradleak")

_FILE, _DIGEST = "state.npz", "digest"


def digest(facts: dict, arrays: dict) -> str:
    """Fingerprint of what a run depends on: plain ``facts`` and the bytes of ``arrays``."""
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        fingerprint.update(f"{name} {array.dtype} {array.shape}".encode())
        fingerprint.update(np.ascontiguousarray(array))
    return fingerprint.hexdigest()


def save(folder: Path, fingerprint: str, state: dict) -> None:
    """Write ``state``, a dict of arrays, numbers or dicts of them, in place of the one before.

    Two processes may do the same run (a restarted scheduler, a node thought dead). They save the same states,
    whole, one over the other; and the first to finish removes the folder, which the other then makes again.
    """
    try:
        write_npz(folder / _FILE, **{_DIGEST: fingerprint}, **_flattened(state))
    except FileNotFoundError:
        write_npz(folder / _FILE, **{_DIGEST: fingerprint}, **_flattened(state))


def load(folder: Path, fingerprint: str) -> dict | None:
    """The state that ``save`` was last given, or None if there is none whole and of this fingerprint."""
    try:
        arrays = read_npz(folder / _FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as damage:
        log.warning("checkpoint in %s is not readable and is ignored: %s", folder, damage)
        return None
    if str(arrays.pop(_DIGEST, "")) != fingerprint:
        log.warning("checkpoint in %s belongs to another run and is ignored", folder)
        return None
    return _nested(arrays)


def _flattened(state: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in state.items():
        path = prefix + name
        flat |= _flattened(value, f"{path}/") if isinstance(value, dict) else {path: value}
    return flat


def _nested(flat: dict) -> dict:
    state: dict = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        place = state
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return state
