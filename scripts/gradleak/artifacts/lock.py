"""Hashes of downloaded files at their first use. A later file with another hash is refused."""

from __future__ import annotations

import datetime
import fcntl
import os
from pathlib import Path

from gradleak.artifacts.errors import ArtifactError
from gradleak.files import read_json, write_json


def recorded(lock: Path) -> dict[str, dict]:
    """File id → {sha256, bytes, first_used}; empty where nothing was downloaded yet."""
    if not lock.is_file():
        return {}
    try:
        found = read_json(lock)
        return {str(key): {"sha256": str(entry["sha256"]), **entry} for key, entry in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{lock}: not a lock file ({error}); restore it, or remove it to accept the files as they are now"
        ) from None


def enforce(lock: Path, file_id: str, sha256: str) -> None:
    known = recorded(lock).get(file_id)
    if known and known["sha256"] != sha256:
        raise ArtifactError(
            f"Drive file {file_id} is not the file of the first use ({known.get('first_used', 'earlier')}): "
            f"its SHA-256 is {sha256}, {lock} has {known['sha256']}. The file was changed or replaced. "
            f"If the new one is right, remove its entry from {lock} and run again"
        )


def record(lock: Path, hashes: dict[str, tuple[str, int]]) -> None:
    """Add the ids that are missing. hashes: id → (SHA-256, bytes). Safe if several jobs do so at once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(lock.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        known = recorded(lock)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        added = {
            key: {"sha256": digest, "bytes": size, "first_used": today}
            for key, (digest, size) in hashes.items()
        }
        if added.keys() - known.keys():
            write_json(lock, dict(sorted((added | known).items())))
    finally:
        os.close(folder)
