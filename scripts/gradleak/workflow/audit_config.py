"""The arguments of ``make audit`` → a config: the target, and the attacks that have a prospect."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradleak.datasets.builtin import BUILTIN
from gradleak.errors import UserError
from gradleak.workflow.config import NO_DATASET
from gradleak.workflow.recorded_run import has_rounds

STUDY = "audit"
PUBLIC = "public"  # the name of the user's own data set in the config
QUICK = 5  # minutes below which the searches are short
LABELS = ("auto", "rank1", "uniform")
SPAN = {True: {"starts": 32, "copies": 2, "rounds": 6}, False: {}}  # by whether the audit is quick
DLG = {True: {"steps": 300}, False: {"steps": 1000}}
PRIOR = {"dataset": "", "latent_dim": 16, "epochs": 40}


class AuditError(UserError):
    """An argument that cannot be used: its name, the reason, and what to do."""


@dataclass(frozen=True)
class Arguments:
    """leak: folder of an update or of a recorded run. public: a built-in set or a path, or ''. truth: a
    file (of a run a folder), or ''. samples: images in each update, None if the metadata state them.
    minutes: of the whole audit.
    """

    leak: str
    public: str = ""
    truth: str = ""
    samples: int | None = None
    minutes: float = 10.0

    @property
    def is_quick(self) -> bool:
        return self.minutes < QUICK


def checked(arguments: Arguments) -> None:
    """Raises AuditError where a file or folder is not there."""
    if not arguments.leak:
        raise AuditError("LEAK is missing; name the folder of the update: make audit LEAK=leaks/mine")
    leak = Path(os.path.expanduser(arguments.leak))
    if not leak.is_dir():
        what = (
            "is a file; name its folder" if leak.is_file() else f"there is no such folder (from {Path.cwd()})"
        )
        raise AuditError(f"LEAK={arguments.leak}: {what}")
    if arguments.truth and not Path(os.path.expanduser(arguments.truth)).exists():
        raise AuditError(f"TRUTH={arguments.truth}: there is no such file (from {Path.cwd()})")
    public = arguments.public
    if public and public not in (*BUILTIN, NO_DATASET) and not Path(os.path.expanduser(public)).exists():
        near = difflib.get_close_matches(public, BUILTIN, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AuditError(
            f"PUBLIC={public}: is neither a built-in data set ({', '.join(BUILTIN)}) nor a file or folder "
            f"(from {Path.cwd()}){hint}"
        )


def audit_config(arguments: Arguments, prospects: dict[str, str] | None, seeds: int = 1) -> dict[str, Any]:
    """The config. prospects: attack → good, poor or none, of all updates; None before the mapping.

    seeds: of each attack on each update.
    """
    name = Path(os.path.abspath(os.path.expanduser(arguments.leak))).name
    target: dict[str, Any] = {"source": "local", "path": str(Path(arguments.leak))}
    is_run = has_rounds(arguments.leak)
    if is_run:
        target["rounds"] = "all"
    dataset = arguments.public or NO_DATASET
    own = dataset not in (*BUILTIN, NO_DATASET)
    target["dataset"] = PUBLIC if own else dataset
    target |= {"truth": arguments.truth} if arguments.truth else {}
    target |= {"samples": arguments.samples} if arguments.samples else {}
    cells = _cells(arguments, prospects or {}, dataset != NO_DATASET)
    updates = _updates(arguments.leak) if is_run else 1
    config: dict[str, Any] = {
        "study": STUDY,
        "targets": {name: target},
        "studies": {
            STUDY: {
                "description": f"Audit of {arguments.leak}.",
                "seeds": seeds * updates,
                "block_size": 1,  # a seed more leaves the others as they are
                "cells": [{**cell, "target": name} for cell in cells],
            }
        },
    }
    if own:
        config["datasets"] = {PUBLIC: {"path": arguments.public}}
    if any(cell["attack"] == "latent" for cell in cells):
        config["priors"] = {STUDY: PRIOR | {"dataset": target["dataset"]}}
    return config


def _cells(arguments: Arguments, prospects: dict[str, str], has_public: bool) -> list[dict[str, Any]]:
    """Labels always; the other attacks by their prospects, each with its control.

    Latent inversion needs public images to train on, and takes minutes. With a poor prospect its images are
    those of its prior.
    """
    quick = arguments.is_quick
    cells: list[dict[str, Any]] = [{"attack": "labels", "axes": {"method": list(LABELS)}}]
    if prospects.get("span", "none") != "none":
        span = {"attack": "span", **SPAN[quick]}
        cells += [span, {**span, "control": "random_gradient", "rounds": 2}]
    if prospects.get("dlg", "none") != "none":
        cells.append({"attack": "dlg", **DLG[quick], "axes": {"control": ["none", "random_gradient"]}})
    if prospects.get("latent") == "good" and has_public and not quick:
        latent = {"attack": "latent", "prior": STUDY}
        cells.append({**latent, "axes": {"control": ["none", "random_gradient", "label_only"]}})
    return cells


def _updates(leak: str) -> int:
    """The number of updates of a recorded run."""
    folder = Path(os.path.expanduser(leak))
    return max(1, sum(path.parent.is_dir() for path in folder.glob("round-*/*/delta.npz")))
