"""Writes runs to MLflow, one cell at a time: in one transaction to a database, else through MLflow's client.

The client takes a dozen transactions per run: an hour of waiting for the disk for ten thousand trials.
``write_by_sql`` inserts the same rows itself (tests compare the two), so a killed sync leaves a cell either
unchanged or complete. ``write_by_client`` works with any tracking server. It writes a run's digest last, so
an unfinished run has none.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.records import digest
from gradleak.tracking import artifact_folders

BATCH = 100  # params per request, MLflow's limit
ROWS = 5000  # rows per statement
IMAGE = "reconstructions"  # the key of the picture in the UI's grid
MARK, TRIAL_MARK, PARENT = "cell.digest", "trial.digest", "mlflow.parentRunId"


@dataclass(frozen=True)
class Run:
    """A run without its id. Times in milliseconds."""

    tags: dict[str, str]
    mark: str  # its trial.digest
    params: dict[str, str]
    metrics: list[tuple[str, float, int]]  # (metric, value, step)
    dataset: tuple[str, str] | None  # name, source
    status: str
    began: int
    ended: int
    image: np.ndarray | None = None
    files: tuple[Path, ...] = ()  # kept as artifacts, each below the name of its folder


def differences(run: Run, found: Any) -> list[str]:
    """The names of params, metrics, tags and facts in which the run ``found`` of MLflow is not ``run``.

    Of a curve the last point is compared. Tags and params that ``run`` does not have are the user's own.
    """
    metrics = {key: value for key, value, _ in sorted(run.metrics, key=lambda metric: metric[2])}
    facts = {"status": run.status, "start_time": run.began, "end_time": run.ended}
    there = {name: getattr(found.info, name) for name in facts}
    return [
        *(key for key, value in run.params.items() if found.data.params.get(key) != value),
        *(key for key, value in run.tags.items() if found.data.tags.get(key) != value),
        *(key for key in metrics | found.data.metrics if found.data.metrics.get(key) != metrics.get(key)),
        *(key for key, value in facts.items() if there[key] != value),
    ]


@dataclass(frozen=True)
class Change:
    """What has to be written so that the runs of a cell are right. Either ``parent`` or ``parent_id`` is set.

    The run with a study's figures is a parent without trials.
    """

    mark: str  # its cell.digest
    parent: Run | None = None  # to be written
    parent_id: str | None = None  # of a run that is right
    trials: list[Run] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)  # ids of runs to delete
    orphans: list[str] = field(default_factory=list)  # ids of right runs that get this parent


def write_by_client(client: Any, experiment: Any, change: Change) -> str:
    """Write a change through MLflow's client. Returns the id of the parent."""
    if change.parent_id:  # if this sync is killed, the next one has to look into this cell again
        client.set_tag(change.parent_id, MARK, "")
    parent = change.parent_id or ""
    if change.parent:
        parent = _create(client, experiment.experiment_id, change.parent, {})
    for run in change.trials:
        _create(client, experiment.experiment_id, run, {PARENT: parent})
    for run_id in change.stale:
        client.delete_run(run_id)
    for run_id in change.orphans:
        client.set_tag(run_id, PARENT, parent)
    client.set_tag(parent, MARK, change.mark)
    return parent


def _create(client: Any, experiment_id: str, run: Run, tags: dict[str, str]) -> str:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    run_id = client.create_run(experiment_id, start_time=run.began, tags=run.tags | tags).info.run_id
    if run.image is not None:
        client.log_image(run_id, run.image, key=IMAGE, step=0, timestamp=run.ended)
    for path in run.files:
        client.log_artifact(run_id, str(path), path.parent.name)
    if run.dataset:
        name, source = run.dataset
        used = Dataset(name=name, digest=digest(name), source_type="gradleak", source=source)
        client.log_inputs(run_id, datasets=[DatasetInput(used, [InputTag("mlflow.data.context", "attack")])])
    params = [Param(key, value) for key, value in run.params.items()]
    metrics = [Metric(key, value, run.ended, step) for key, value, step in run.metrics]
    for at in range(BATCH, len(params), BATCH):
        client.log_batch(run_id, params=params[at : at + BATCH])
    # The digest comes last: a run that has one is whole.
    client.log_batch(run_id, metrics, params[:BATCH], [RunTag(TRIAL_MARK, run.mark)])
    client.set_terminated(run_id, status=run.status, end_time=run.ended)
    return run_id


def write_by_sql(engine: Any, uri: str, experiment: Any, change: Change) -> str:
    """Write a change into MLflow's tables, in one transaction. Returns the id of the parent."""
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import delete, insert, update

    parent = change.parent_id or uuid.uuid4().hex
    new = [(uuid.uuid4().hex, run, {PARENT: parent}) for run in change.trials]
    if change.parent:
        new.insert(0, (parent, change.parent, {}))
    place = artifact_folders.address_for_writing(uri, experiment)
    for run_id, run, _ in new:
        address = f"{place}/{run_id}/artifacts"
        with artifact_folders.writing(address):
            _put_artifacts(address, run)
    with engine.begin() as connection:
        used = _datasets(connection, experiment, {run.dataset for _, run, _ in new if run.dataset})
        rows: dict[Any, list[dict]] = {}
        for run_id, run, tags in new:
            for model, row in _rows(models, (experiment.experiment_id, place), run_id, run, tags, used):
                rows.setdefault(model, []).append(row)
        for model, values in rows.items():
            for at in range(0, len(values), ROWS):
                connection.execute(insert(model), values[at : at + ROWS])
        if change.stale:
            gone = {"lifecycle_stage": "deleted", "deleted_time": int(1000 * time.time())}
            connection.execute(
                update(models.SqlRun).where(models.SqlRun.run_uuid.in_(change.stale)).values(gone)
            )
        tag = models.SqlTag
        for key, value, ids in ((PARENT, parent, change.orphans), (MARK, change.mark, [parent])):
            if ids:
                connection.execute(delete(tag).where(tag.key == key, tag.run_uuid.in_(ids)))
                connection.execute(
                    insert(tag), [{"run_uuid": run_id, "key": key, "value": value} for run_id in ids]
                )
    return parent


def _rows(
    models: Any, experiment: tuple[str, str], run_id: str, run: Run, tags: dict, used: dict
) -> Iterator[tuple[Any, dict]]:
    """(model, row) of everything that MLflow keeps of a run. experiment: its id, the address of its files."""
    key, input_id = {"run_uuid": run_id}, uuid.uuid4().hex
    yield (
        models.SqlRun,
        key
        | {
            "name": run.tags["mlflow.runName"],
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "unknown",
            "status": run.status,
            "start_time": run.began,
            "end_time": run.ended,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": f"{experiment[1]}/{run_id}/artifacts",
            "experiment_id": int(experiment[0]),
        },
    )
    pictured = {artifact_folders.PICTURED: "True"} if run.image is not None else {}
    for name, value in (run.tags | tags | pictured | {TRIAL_MARK: run.mark}).items():
        yield models.SqlTag, key | {"key": name, "value": value}
    for name, value in run.params.items():
        yield models.SqlParam, key | {"key": name, "value": value}
    latest: dict[str, dict] = {}
    for name, value, step in run.metrics:
        row = key | {"key": name, "value": value, "timestamp": run.ended, "step": step, "is_nan": False}
        yield models.SqlMetric, row
        if name not in latest or step >= latest[name]["step"]:
            latest[name] = row
    for row in latest.values():
        yield models.SqlLatestMetric, row
    if run.dataset is None:
        return
    yield (
        models.SqlInput,
        {
            "input_uuid": input_id,
            "source_type": "DATASET",
            "source_id": used[run.dataset],
            "destination_type": "RUN",
            "destination_id": run_id,
            "step": 0,
        },
    )
    yield models.SqlInputTag, {"input_uuid": input_id, "name": "mlflow.data.context", "value": "attack"}


def _datasets(connection: Any, experiment: Any, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(name, source) → id of its row, made where it is missing. In MLflow the name alone identifies it."""
    from mlflow.store.tracking.dbmodels.models import SqlDataset
    from sqlalchemy import insert, select

    number = int(experiment.experiment_id)
    known = dict(
        connection.execute(
            select(SqlDataset.name, SqlDataset.dataset_uuid).where(SqlDataset.experiment_id == number)
        ).all()
    )
    for name, source in sorted(wanted):
        if name not in known:
            known[name] = uuid.uuid4().hex
            connection.execute(
                insert(SqlDataset).values(
                    dataset_uuid=known[name],
                    experiment_id=number,
                    name=name,
                    digest=digest(name),
                    dataset_source_type="gradleak",
                    dataset_source=source,
                )
            )
    return {(name, source): known[name] for name, source in wanted}


def _put_artifacts(folder: str, run: Run) -> None:
    """Store a run's files, and its picture in two sizes under the names that the UI's image grid expects."""
    if run.image is None and not run.files:
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking.multimedia import compress_image_size
    from PIL import Image

    repository = get_artifact_repository(folder)
    for path in run.files:
        repository.log_artifact(str(path), path.parent.name)
    if run.image is None:
        return
    image, stem = Image.fromarray(run.image), f"{IMAGE}+step+0+timestamp+{run.ended}+{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as temporary:
        image.save(Path(temporary, f"{stem}.png"))
        compress_image_size(image).save(Path(temporary, f"{stem}+compressed.webp"))
        repository.log_artifacts(temporary, "images")
