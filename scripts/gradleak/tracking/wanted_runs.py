"""What the runs of a cell and of its trials should hold, from the tables and the files of the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gradleak.evaluation.tables import COST, IDENTITY, METRICS, PLACE
from gradleak.records import digest
from gradleak.tracking import notes, pictures
from gradleak.tracking.contents import BlockFiles, times_of
from gradleak.tracking.write_runs import Run

FORMAT = 4  # raise it when what a run shows changes: every run is then replaced once
LONGEST = 6000  # characters of a param, MLflow's limit
LONGEST_REASON = 4000
TAGS = ("study", "cell", "attack", "target", "batch_size", "weighting", "labels", "control", "method")


@dataclass(frozen=True)
class CellRows:
    """A cell of one study, as the tables have it."""

    name: str  # short, see evaluation.cell_names
    summary: dict[str, Any]  # its row of cells.csv
    trials: list[dict[str, Any]]  # its rows of trials.csv
    settings: dict[str, Any]  # {"attack", "target", "parameters"}, defaults included


@dataclass(frozen=True)
class Body:
    """The part of a run that is read from files only if the run is written. Times in milliseconds."""

    curve: dict[str, list[float]]
    began: int
    ended: int
    image: np.ndarray | None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WantedRun:
    """A run as it should be."""

    identity: str  # its tag trial.id
    tags: dict[str, str]
    settings: dict[str, Any]
    metrics: dict[str, float]
    status: str
    content: str  # digest of what ``read`` returns
    read: Callable[[], Body]

    @cached_property
    def digest(self) -> str:
        return digest(FORMAT, self.metrics, self.tags, self.settings, self.status, self.content)

    def run(self) -> Run:
        """The whole run. This reads the files of its block."""
        body, target = self.read(), self.settings["target"]
        params = {"attack": self.settings["attack"], "target": target, **self.settings["parameters"]}
        curve = zip(body.curve.get("step", ()), body.curve.get("objective", ()), strict=True)
        return Run(
            {"trial.id": self.identity, **self.tags, **body.tags},
            self.digest,
            {key: str(value)[:LONGEST] for key, value in params.items()},
            [
                *((key, value, 0) for key, value in self.metrics.items()),
                *(("loss", value, int(step)) for step, value in curve),
            ],
            None if self.tags["dataset"] == "none" else (self.tags["dataset"], target),
            self.status,
            body.began,
            body.ended,
            body.image,
        )


def cell_run(cell: CellRows, contents: BlockFiles) -> WantedRun:
    """The run of a cell: means with intervals, the median curve, the picture of its first good trial."""
    summary = cell.summary
    names = [name for name in summary if name not in IDENTITY and not name.startswith("param.")]
    return WantedRun(
        str(summary["cell"]),
        _tags(summary, cell)
        | {"kind": "cell", "mlflow.runName": cell.name, "mlflow.note.content": notes.of_cell(summary)},
        cell.settings,
        _numbers(summary, names),
        "FINISHED" if summary["ok"] == summary["trials"] else "FAILED",
        digest([contents.digest_of(row) for row in cell.trials]),
        lambda: _cell_body(cell.trials, contents),
    )


def trial_run(row: dict[str, Any], cell: CellRows, contents: BlockFiles) -> WantedRun:
    """The run of a trial. row: its row of trials.csv."""
    tags = _tags(row, cell) | {
        "kind": "trial",
        "seed": str(row["seed"]),
        "draw": str(row["draw"]),
        "block": str(row["block"]),
        **{name: str(row[name]) for name in PLACE if row[name]},
        "mlflow.runName": cell.name + trial_suffix(row["seed"]),
    }
    return WantedRun(
        f"{row['cell']}/{row['seed']}",
        tags,
        cell.settings,
        _numbers(row, [*METRICS, *COST]),
        "FINISHED" if row["status"] == "ok" else "FAILED",
        contents.digest_of(row),
        lambda: _trial_body(row, contents),
    )


def trial_suffix(seed: int) -> str:
    """What the name of a trial's run has after the name of its cell."""
    return f" #{seed}"


def _cell_body(rows: list[dict], contents: BlockFiles) -> Body:
    bodies = [_trial_body(row, contents) for row in rows]
    times = contents.times(rows)
    curves = [body.curve for body in bodies if body.curve.get("step")]
    median = {}
    if curves:
        steps = curves[0]["step"]
        values = [np.interp(steps, curve["step"], curve["objective"]) for curve in curves]
        median = {"step": steps, "objective": np.median(values, axis=0).tolist()}
    image = next((body.image for body in bodies if body.image is not None), None)
    return Body(median, *times, image)


def _trial_body(row: dict, contents: BlockFiles) -> Body:
    if not contents.has(row):
        return Body({}, *contents.times([]), None)
    record, pairs, index = contents.trial(row)
    tags = {"code": str(record["code"]), **{f"env.{k}": str(v) for k, v in record["environment"].items()}}
    image = pictures.of_trial(row, pairs, index)
    return Body(record["trials"][index]["history"], *times_of(record), image, tags)


def _tags(row: dict, cell: CellRows) -> dict[str, str]:
    """The tags that every run has, to filter and group by."""
    tags = {name: _text(row[name]) for name in TAGS}
    tags["oracle"] = str(bool(row["oracle"])).lower()
    tags["dataset"] = str(cell.settings["parameters"].get("target.dataset", ""))
    if "status" in row:
        tags["status"] = str(row["status"])
    reason = row.get("reason") or row.get("reasons")
    return tags | ({"reason": str(reason)[:LONGEST_REASON]} if reason else {})


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _numbers(row: dict, names: Iterable[str]) -> dict[str, float]:
    """Those of ``names`` that are finite numbers in ``row``."""
    found = {
        name: row[name]
        for name in names
        if isinstance(row[name], int | float) and not isinstance(row[name], bool)
    }
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}
