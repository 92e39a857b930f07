"""A recorded run: a folder of rounds and clients, each with an update, and the model once at the top.

``<path>/round-0001/client-<id>/`` (or ``aggregate/``) holds ``before.npz``, ``delta.npz`` and ``meta.json``.
Read while the workflow is parsed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gradleak.workflow.config import ConfigError, LocalTarget

ROUND = re.compile(r"round-(\d{4,9})")
CLIENT = "client-"
AGGREGATE = "aggregate"
NEEDED = ("before.npz", "delta.npz", "meta.json")
LAYOUT = f"<path>/round-0001/{CLIENT}<id>/ (or {AGGREGATE}/) with {', '.join(NEEDED)}"


@dataclass(frozen=True)
class Recorded:
    """One update of a run. client: the id, or ``aggregate``. folder: with the files of the update."""

    round: int
    client: str
    folder: str

    @property
    def in_words(self) -> str:
        who = self.client if self.client == AGGREGATE else f"client {self.client}"
        return f"round {self.round}, {who}"

    @property
    def truth_name(self) -> str:
        """The file of the private images, below the folder that ``truth`` names."""
        path = Path(self.folder)
        return f"{path.parent.name}/{path.name}.npz"


def is_run(target: LocalTarget) -> bool:
    """Whether the target asks for a recorded run, and not for one folder of files."""
    return target.rounds is not None or target.clients is not None


def has_rounds(path: str) -> bool:
    """Whether the folder at ``path`` holds folders of rounds."""
    return bool(_rounds(Path(os.path.expanduser(path))))


def recorded(name: str, target: LocalTarget) -> tuple[Recorded, ...]:
    """The updates that a target asks for, by round and client: its draws, in this order.

    Empty for a target that is no run. Raises ConfigError with the place of the setting, the folder and the
    missing file. name: of the target in the config.
    """
    if not is_run(target):
        return ()
    top = Path(os.path.expanduser(target.path))
    rounds = _rounds(top)
    if not rounds:
        raise ConfigError(
            f"targets.{name}.path: no folder round-0001, … in {target.path!r} (from {Path.cwd()}); a "
            f"recorded run is {LAYOUT}"
        )
    if missing := _absent(target.rounds, list(rounds)):
        raise ConfigError(
            f"targets.{name}.rounds: {_listed(missing)} not in {target.path!r}; there are {_listed(rounds)}"
        )
    if not model_files(target):
        raise ConfigError(
            f"targets.{name}.path: no file of the model in {target.path!r}; save its structure there, once "
            "for all rounds (Keras: model.to_json(); PyTorch: ONNX, see docs/how-to/from-pytorch.md)"
        )
    chosen = [number for number in rounds if target.rounds in (None, "all") or number in target.rounds]
    found = [one for number in chosen for one in _clients(number, rounds[number])]
    if missing := _absent(target.clients, [one.client for one in found]):
        raise ConfigError(
            f"targets.{name}.clients: {_listed(missing)} in none of the rounds of {target.path!r}; there are "
            f"{_listed(dict.fromkeys(one.client for one in found))}"
        )
    if target.clients not in (None, "all"):
        wanted = set(map(str, target.clients))
        found = [one for one in found if one.client in wanted]
    if not found:
        raise ConfigError(f"targets.{name}.path: {target.path!r} holds no update; a recorded run is {LAYOUT}")
    for one in found:
        for file in NEEDED:
            if not (Path(one.folder) / file).is_file():
                raise ConfigError(
                    f"targets.{name}.path: {one.folder}: {file} is missing; record the update again, or "
                    "leave it out by `rounds` or `clients`"
                )
    return tuple(found)


def model_files(target: LocalTarget) -> list[str]:
    """The files at the top of a run: the model."""
    top = Path(os.path.expanduser(target.path))
    return sorted(str(path) for path in top.iterdir() if path.is_file() and not path.name.startswith("."))


def _rounds(top: Path) -> dict[int, Path]:
    """Number → folder, sorted. Temporary and other folders are left out."""
    if not top.is_dir():
        return {}
    found = {path: ROUND.fullmatch(path.name) for path in top.iterdir() if path.is_dir()}
    numbered = {int(match.group(1)): path for path, match in found.items() if match}
    return dict(sorted(numbered.items()))


def _clients(number: int, folder: Path) -> list[Recorded]:
    """The updates of a round, those of clients by their ids, numbers first and by their value."""
    found = []
    for path in folder.iterdir():
        if path.is_dir() and (path.name == AGGREGATE or path.name.startswith(CLIENT)):
            found.append(Recorded(number, path.name.removeprefix(CLIENT), str(path)))
    return sorted(found, key=lambda one: (not one.client.isdigit(), one.client.zfill(40), one.client))


def _absent(asked, there) -> list:
    """Those of ``asked`` that are not ``there``; none if all are asked for."""
    return [] if asked in (None, "all") else [one for one in asked if str(one) not in map(str, there)]


def _listed(values) -> str:
    return ", ".join(map(str, values)) or "none"
