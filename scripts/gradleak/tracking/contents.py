"""The records and matched pairs of blocks, read when needed; digests of unchanged files are remembered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from gradleak import records
from gradleak.files import read_json, read_npz, write_json

CACHE_VERSION = 3  # raise it when the remembered facts change: all files are then read once more


class BlockFiles:
    """What the files of blocks hold.

    blocks: (cell, block) → paths of the block's record and of its matched pairs. Blocks that failed are
    not in it. seen: the file with the remembered facts, if any.
    """

    def __init__(self, blocks: dict[tuple[str, str], tuple[str, str]], seen: Path | None):
        self._blocks, self._seen = blocks, seen
        self._known: dict[str, Any] = {}
        if seen and seen.is_file():
            stored = read_json(seen)
            self._known = stored["blocks"] if stored.get("format") == CACHE_VERSION else {}
        self._checked: set[str] = set()
        self._last: tuple[Any, dict, dict] = (
            None,
            {},
            {},
        )  # the last block, often needed again

    def has(self, row: dict) -> bool:
        """Whether the block of a trial has files."""
        return (row["cell"], row["block"]) in self._blocks

    def digest_of(self, row: dict) -> str:
        """The digest of all that the files say about a trial; empty without files."""
        if not self.has(row):
            return ""
        return self._block(row)["digests"][str(row["seed"])]

    def times(self, rows: Iterable[dict]) -> tuple[int, int]:
        """When the first of these trials began and the last one ended, milliseconds.

        If none of them has files: when the last file of any block was written.
        """
        known = [self._block(row)["times"] for row in rows if self.has(row)] or [(self._last_written,) * 2]
        return min(began for began, _ in known), max(ended for _, ended in known)

    @cached_property
    def _last_written(self) -> int:
        written = (os.stat(record).st_mtime_ns // 1_000_000 for record, _ in self._blocks.values())
        return max(written, default=0)

    def trial(self, row: dict) -> tuple[dict, dict, int]:
        """The record of a trial's block, its matched pairs (empty for labels), and the index of the trial."""
        key = row["cell"], row["block"]
        if self._last[0] != key:
            files = self._blocks[key]
            self._last = key, records.read(files[0]), read_npz(files[1])
        _, record, pairs = self._last
        return record, pairs, [trial["seed"] for trial in record["trials"]].index(row["seed"])

    def remember(self) -> None:
        """Write the file ``seen``."""
        if self._seen:
            write_json(self._seen, {"format": CACHE_VERSION, "blocks": self._known})

    def _block(self, row: dict) -> dict[str, Any]:
        """The facts about a trial's block, read anew if its files have changed."""
        key = f"{row['cell']}/{row['block']}"
        paths = self._blocks[row["cell"], row["block"]]
        if key not in self._checked:
            stamp = [[info.st_mtime_ns, info.st_size] for info in map(os.stat, paths)]
            if self._known.get(key, {}).get("stamp") != stamp:
                self._known[key] = {
                    "stamp": stamp,
                    "times": times_of(self.trial(row)[0]),
                    "digests": self._digests(row),
                }
            self._checked.add(key)
        return self._known[key]

    def _digests(self, row: dict) -> dict[str, str]:
        record, pairs, _ = self.trial(row)
        common = {key: value for key, value in record.items() if key != "trials"}
        images = [pairs[name] for name in ("found", "truth") if name in pairs]
        return {
            str(trial["seed"]): records.digest(
                common, trial, *(hashlib.sha256(part[index].tobytes()).hexdigest() for part in images)
            )
            for index, trial in enumerate(record["trials"])
        }


def times_of(record: dict) -> tuple[int, int]:
    """When a block began and ended, milliseconds."""
    began = int(record["started"] * 1000)
    return began, began + int(1000 * record["seconds"]["total"])
