"""Syncs in processes of their own, some of which are killed. They start with MLflow loaded."""

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

from gradleak.evaluation import tables
from gradleak.tracking import stores
from gradleak.tracking import sync as tracking
from gradleak.tracking.write_runs import write_by_client

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["gradleak.tracking.sync", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "skimage"]
)


def sync(uri, results, prune=False, seen=None):
    """One sync of tables that ``results.frames()`` has written."""
    frames = {name: tables.read(str(results.folder / f"{name}.csv")) for name in ("trials", "cells")}
    blocks = {(b["cell"], b["block"]): (b["record"], b["pairs"]) for b in results.blocks}
    whole = tracking.Results(
        frames["trials"], frames["cells"], blocks, results.cells, {"demo": "What it is."}, results.shown
    )
    return tracking.sync(uri, whole, lambda *parts: None, seen, prune)


def sync_to(results, database, prune=False, **chosen):
    """One sync of all results into a SQLite database. Returns the counts that are not zero."""
    results.frames(**chosen)
    done = sync(f"sqlite:///{database}", results, prune, results.folder / "seen.json")
    return {what: count for what, count in done.items() if count}


def ids(runs):
    """trial.id → run id."""
    return {identity: run.info.run_id for identity, run in runs.items()}


class Seen:
    """What a user of the tracking server sees."""

    def __init__(self, uri):
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)

    def all_runs(self, study="demo"):
        experiment = self.client.get_experiment_by_name(f"gradleak/{study}")
        return self.client.search_runs([experiment.experiment_id])

    def runs(self, study="demo"):
        return {run.data.tags["trial.id"]: run for run in self.all_runs(study)}

    def count(self):
        return len(self.all_runs())

    def history(self, run, metric):
        points = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value, point.timestamp) for point in points)

    def image(self, run):
        """The bytes of the run's picture, None without one."""
        files = [
            file.path
            for file in self.client.list_artifacts(run.info.run_id, "images")
            if file.path.endswith(".png")
        ]
        assert len(files) <= 1
        return self._bytes(run, files[0]) if files else None

    def files(self, run):
        """Artifact → its bytes, without the pictures of reconstructions, whose names are random."""
        folders = [file.path for file in self.client.list_artifacts(run.info.run_id) if file.path != "images"]
        files = [
            file.path for folder in folders for file in self.client.list_artifacts(run.info.run_id, folder)
        ]
        return {file: self._bytes(run, file) for file in files}

    def _bytes(self, run, file):
        with tempfile.TemporaryDirectory() as folder:  # MLflow's own choice of a folder is never removed
            return Path(self.client.download_artifacts(run.info.run_id, file, folder)).read_bytes()

    def content(self, *studies):
        """All that is shown of every run but MLflow's ids. Fails where a trial has two runs."""
        found = {}
        for study in studies or ("demo",):
            runs = self.all_runs(study)
            names = {run.info.run_id: run.data.tags["trial.id"] for run in runs}
            assert len(set(names.values())) == len(runs), "a trial has two runs"
            for run in runs:
                tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.parentRunId"}
                found[study, names[run.info.run_id]] = {
                    "tags": tags,
                    "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
                    "params": run.data.params,
                    "metrics": run.data.metrics,
                    "curve": self.history(run, "loss"),
                    "status": run.info.status,
                    "name": run.info.run_name,
                    "times": (run.info.start_time, run.info.end_time),
                    "user": run.info.user_id,
                    "image": self.image(run),
                    "files": self.files(run),
                    "inputs": [used.to_dictionary() | {"tags": None} for used in run.inputs.dataset_inputs],
                }
        return found


def start(target, *arguments):
    process = SERVER.Process(target=target, args=arguments)
    process.start()
    return process


def killed_writing_by_sql(uri, results, at):
    """A sync that is killed before the database's statement number ``at``."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "before_cursor_execute", _fuse(at))
    sync(uri, results)


def killed_writing_by_client(uri, results, at):
    """A sync through MLflow's client that is killed before its call number ``at``."""
    from mlflow import MlflowClient

    through_the_client()
    burn = _fuse(at)
    for name in (
        "create_run",
        "log_image",
        "log_artifact",
        "log_inputs",
        "log_batch",
        "set_terminated",
        "set_tag",
        "delete_run",
    ):
        setattr(MlflowClient, name, _after(burn, getattr(MlflowClient, name)))
    sync(uri, results)


def through_the_client():
    """Write with MLflow's client, as to a tracking server, whatever the store is."""
    from contextlib import nullcontext
    from functools import partial

    stores.writer = lambda uri, client: nullcontext(partial(write_by_client, client))


def _fuse(at):
    left = [at]

    def burn(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return burn


def _after(burn, method):
    def call(*arguments, **named):
        burn()
        return method(*arguments, **named)

    return call
