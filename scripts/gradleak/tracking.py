"""Records → MLflow: an index of the files, rebuilt from them at any time.

One experiment a study, one parent run a cell, one run a trial. A run is known by its tag ``trial.id`` and by
``trial.digest``, the digest of all that it shows: equal → left alone, different → replaced, never appended to.
Runs are imported whole (create, one log_batch, image, terminate), so no killed job leaves one half alive: a run
without its digest tag is unfinished and is replaced.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradleak.records import digest
from gradleak.tables import COST, IDENTITY, METRICS

FORMAT = 1  # raise it when what a run shows changes: every run is then replaced once
GRID_COLUMNS = 8


def create_schema(uri: str) -> None:
    """Make the tables of a new database, or migrate old ones."""
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
    from sqlalchemy import inspect

    engine = create_sqlalchemy_engine_with_retry(uri)
    if inspect(engine).get_table_names():
        _upgrade_db(engine)
    else:
        _initialize_tables(engine)
    engine.dispose()


def sync(
    uri: str,
    trials: pd.DataFrame,
    cells: pd.DataFrame,
    blocks: dict[tuple[str, str], tuple[Callable[[], dict], Callable[[], dict]]],
    parameters: dict[str, dict],
    descriptions: dict[str, str],
    say: Callable[..., None] = print,
) -> dict[str, int]:
    """Bring MLflow at ``uri`` to the state of the tables.

    blocks: (cell, block) → functions that read the block's record and its matched pairs.
    parameters: cell id → {attack, target, parameters}. Returns how many runs were created, replaced and kept.
    """
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    done = {"created": 0, "replaced": 0, "kept": 0}
    for name, own in trials.groupby("study", sort=False):
        experiment = _experiment(client, uri, str(name), descriptions.get(str(name), ""))
        study = _Study(client, experiment, _runs(client, experiment), _naming(own), done)
        for cell, group in own.groupby("cell", sort=False):
            summary = cells[(cells["study"] == name) & (cells["cell"] == cell)].iloc[0]
            parent = _sync_parent(study, str(cell), summary, parameters[str(cell)])
            for block, rows in group.groupby("block", sort=False):
                _sync_block(study, parent, rows, blocks[str(cell), str(block)], parameters[str(cell)])
        say("study %s: %s", name, done)
    return done


@dataclass(frozen=True)
class _Study:
    """Where the runs of one study go, and what is there."""

    client: Any
    experiment: str
    known: dict[str, list[Any]]  # trial.id → its runs
    varying: list[str]  # the columns that runs are named by
    done: dict[str, int]  # counts, of all studies


def _experiment(client: Any, uri: str, study: str, description: str) -> str:
    from mlflow.exceptions import MlflowException

    name = f"gradleak/{study}"
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(
                name,
                artifact_location=_artifacts(uri, study),
                tags={"mlflow.note.content": description} if description else None,
            )
        except MlflowException:  # another writer was faster
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":  # in the UI, say; its name is still taken
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _artifacts(uri: str, study: str) -> str | None:
    """Images of a SQLite database lie beside it (MLflow would put them into ./mlruns); a server knows its own place."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix):
        return None
    return (Path(uri.removeprefix(prefix)).absolute().parent / "artifacts" / study).as_uri()


def _runs(client: Any, experiment: str) -> dict[str, list[Any]]:
    """trial.id → its runs (more than one only after an accident)."""
    known: dict[str, list[Any]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=5000, page_token=token)
        for run in page:
            known.setdefault(run.data.tags.get("trial.id", ""), []).append(run)
        token = page.token
        if not token:
            return known


def _settled(study: _Study, identity: str, mark: str) -> Any | None:
    """The run that is up to date; otherwise None, with whatever stood in its place deleted."""
    runs = study.known.get(identity, [])
    current = [r for r in runs if r.data.tags.get("trial.digest") == mark and r.info.status != "RUNNING"]
    for run in runs:
        if not current or run is not current[0]:
            study.client.delete_run(run.info.run_id)
    if current:
        study.done["kept"] += 1
        return current[0]
    study.done["replaced" if runs else "created"] += 1
    return None


def _sync_parent(study: _Study, cell: str, summary: pd.Series, parameter: dict) -> str:
    """The run of a cell: its means. Returns the run's id."""
    values = {
        name: value for name, value in summary.items() if _number(value) is not None and name not in IDENTITY
    }
    status = "FINISHED" if summary["ok"] == summary["trials"] else "FAILED"
    tags = _tags(summary, parameter) | {"kind": "cell", "mlflow.runName": _name(summary, study.varying)}
    if summary["reasons"]:
        tags["reason"] = str(summary["reasons"])[:4000]
    mark = digest(FORMAT, values, tags, parameter)
    settled = _settled(study, cell, mark)
    if settled:
        return settled.info.run_id
    points = [(name, value, 0) for name, value in values.items()]
    return _write(study, cell, mark, tags, parameter, points, status)


def _sync_block(study: _Study, parent: str, rows: pd.DataFrame, readers: tuple, parameter: dict) -> None:
    """The runs of a block's trials, below the run ``parent`` of their cell."""
    read_record, read_pairs = readers
    record, pairs = read_record(), None
    by_seed = {trial["seed"]: (index, trial) for index, trial in enumerate(record["trials"])}
    began = int(record["started"] * 1000)
    for _, row in rows.iterrows():
        index, trial = by_seed[int(row["seed"])]
        tags = _tags(row, parameter) | {
            "kind": "trial", "seed": str(row["seed"]), "draw": str(row["draw"]), "block": str(row["block"]),
            "mlflow.parentRunId": parent, "mlflow.runName": f"{_name(row, study.varying)} seed={row['seed']}".strip(),
            "code": str(record["code"]), **{f"env.{k}": str(v) for k, v in record["environment"].items()},
        }  # fmt: skip
        if row["reason"]:
            tags["reason"] = str(row["reason"])[:4000]
        final = [(name, row[name], 0) for name in [*METRICS, *COST] if _number(row[name]) is not None]
        curve = [
            ("loss", v, s)
            for s, v in zip(*(trial["history"].get(k, []) for k in ("step", "objective")), strict=True)
        ]
        # The parent's id is an address, not content: a rebuilt parent must not make its trials look changed.
        mark = digest(
            FORMAT, final, curve, {k: v for k, v in tags.items() if k != "mlflow.parentRunId"}, parameter
        )
        identity = f"{row['cell']}/{row['seed']}"
        settled = _settled(study, identity, mark)
        if settled:
            if settled.data.tags.get("mlflow.parentRunId") != parent:  # the cell's own run was replaced
                study.client.set_tag(settled.info.run_id, "mlflow.parentRunId", parent)
            continue
        image = None
        if row["status"] == "ok" and row["attack"] != "labels":
            pairs = pairs or read_pairs()
            if pairs["pairs"][index]:  # an attack may have accepted nothing
                image = grid(pairs["found"][index], pairs["truth"][index], int(pairs["pairs"][index]))
        status = "FINISHED" if row["status"] == "ok" else "FAILED"
        ended = began + int(1000 * record["seconds"]["total"])
        _write(study, identity, mark, tags, parameter, final + curve, status, image, began, ended)


def _write(study, identity, mark, tags, parameter, points, status, image=None, began=0, ended=0) -> str:
    """A whole run. points: (metric, value, step); began, ended: in milliseconds, 0 where there is no time to tell."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    client = study.client
    run = client.create_run(study.experiment, start_time=began or None, tags={"trial.id": identity, **tags})
    run_id = run.info.run_id
    params = [
        Param(k, str(v)[:6000])
        for k, v in {
            "attack": parameter["attack"],
            "target": parameter["target"],
            **parameter["parameters"],
        }.items()
    ]
    metrics = [Metric(name, float(value), ended or began, int(step)) for name, value, step in points]
    client.log_batch(run_id, metrics=metrics[:900], params=params[:90], tags=[])
    name = tags["dataset"]
    used = Dataset(name=name, digest=digest(name), source_type="gradleak", source=parameter["target"])
    client.log_inputs(run_id, datasets=[DatasetInput(used, [InputTag("mlflow.data.context", "attack")])])
    if image is not None:
        client.log_image(run_id, image, key="reconstructions", step=0)
    # Last, so that a run with a digest is a whole one.
    client.log_batch(run_id, tags=[RunTag("trial.digest", mark)])
    client.set_terminated(run_id, status=status, end_time=ended or None)
    return run_id


def _tags(row: Any, parameter: dict) -> dict[str, str]:
    """What runs are filtered and grouped by, on every run alike."""
    names = ("study", "cell", "attack", "target", "batch_size", "weighting", "labels", "control", "method")
    tags = {name: _text(row[name]) for name in names}
    tags["oracle"] = str(bool(row["oracle"])).lower()
    if "status" in row:
        tags["status"] = str(row["status"])
    tags["dataset"] = str(parameter["parameters"].get("target.dataset", ""))
    return tags


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return (
        str(int(value))
        if isinstance(value, float | np.floating) and float(value).is_integer()
        else str(value)
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


SHORT = {"batch_size": "b"}


def _naming(trials: pd.DataFrame) -> list[str]:
    """The columns in which the cells of a study differ: what a run is named by."""
    candidates = ["target", "batch_size", "method", "weighting", "labels", "control",
                  *(c for c in trials.columns if c.startswith("param.") and c not in ("param.target.batch_size", "param.target.samples"))]  # fmt: skip
    return ["attack", *(c for c in candidates if len({*trials[c].astype(str)} - {"", "nan"}) > 1)]


def _name(row: Any, varying: list[str]) -> str:
    parts = [str(row["attack"])]
    for column in varying[1:]:
        value = _text(row[column])
        if value not in ("", "none", "nan"):
            parts.append(f"{SHORT.get(column, column.removeprefix('param.'))}={value}")
    return " ".join(parts)


def grid(found: np.ndarray, truth: np.ndarray, pairs: int) -> np.ndarray:
    """uint8 [height, width, 3]: rows of true images (where known), each above its reconstruction."""
    pairs = max(1, min(pairs, 32, len(found)))
    rows = []
    for at in range(0, pairs, GRID_COLUMNS):
        for source in (truth, found) if len(truth) else (found,):
            shown = [
                np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=96)
                for image in source[at : min(at + GRID_COLUMNS, pairs)]
            ]
            shown += [np.zeros_like(shown[0])] * (min(GRID_COLUMNS, pairs) - len(shown))
            rows.append(np.concatenate(shown, axis=1))
    picture = np.concatenate(rows, axis=0)
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    return picture.repeat(3, axis=0).repeat(3, axis=1)  # MNIST is small on a screen
