"""The run with a study's figures and tables, each with its caption, as the report shows them.

Figures are drawn for all studies of a config together, so studies that ran together show the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gradleak.evaluation.figures.registry import FIGURES
from gradleak.records import digest
from gradleak.tracking.write_runs import Run

FORMAT = 2  # raise it when what the run shows changes
IDENTITY = "study"  # its trial.id; those of cells are ten hexadecimal digits
NAME = "figures and tables"


def wanted(study: str, files: Sequence[Path], cells: list[dict], times: tuple[int, int]) -> Run:
    """The run that holds ``files``, each below the name of its folder.

    cells: the study's rows of cells.csv. times: when its first trial began and its last ended, milliseconds.
    """
    metrics = {
        "cells": len(cells),
        **{name: sum(int(cell[name]) for cell in cells) for name in ("trials", "ok")},
    }
    tags = {
        "trial.id": IDENTITY,
        "study": study,
        "kind": "study",
        "mlflow.runName": NAME,
        "mlflow.note.content": _note(files),
    }
    content = {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    return Run(
        tags,
        digest(FORMAT, tags, metrics, times, content),
        {},
        [(name, float(value), 0) for name, value in metrics.items()],
        None,
        "FINISHED",
        *times,
        files=tuple(files),
    )


def _note(files: Sequence[Path]) -> str:
    lines = [
        f"* `{path.parent.name}/{path.name}`"
        + (f": {FIGURES[path.stem].caption}" if path.stem in FIGURES and path.suffix == ".png" else "")
        for path in files
    ]
    return "\n".join(
        [
            "Under **Artifacts**, of all studies that ran together:",
            "",
            *lines,
            "",
            "The report: `results/report.html`.",
        ]
    )
