"""Records → MLflow: an index of the files, rebuilt from them at any time.

One experiment a study, one parent run a cell, one run a trial, and one with the study's figures and tables. A run is known by its tag ``trial.id`` and by
``trial.digest``, the digest of all that it shows: equal → left alone, different → replaced, never appended to.
Runs are imported whole, see ``runs``: one without its digest, or still RUNNING, is what a killed sync left, and is replaced.

A cell's run also carries ``cell.digest``, the digest of its trials' digests, written once all of them stand. A cell whose
digest is right is not looked into, which is what makes syncing ten thousand trials again cheap; ``prune`` looks
into all, and deletes what belongs to no cell of the study.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradleak.evaluation.tables import COST, IDENTITY, METRICS, PLACE
from gradleak.files import read_json, read_npz, write_json
from gradleak.jobs.records import digest
from gradleak.tracking import study_run
from gradleak.tracking.locks import SQLITE, alone, is_database
from gradleak.tracking.write_runs import IMAGE, MARK, PARENT, TRIAL_MARK, Change, Run, by_client, in_bulk

FORMAT = 2  # raise it when what a run shows changes: every run is then replaced once
SEEN = 3  # raise it when what is remembered of files changes: they are then read once more
GRID_COLUMNS = 8
VIEW = "gradleak"
COLUMNS = ["attack", "batch_size", "weighting", "labels", "control", "status"]
SHOWN = ["psnr", "ssim", "share_20db", "reference_accuracy", "irec", "seconds_per_trial"]
SECTION = {"display": True, "isReordered": False}
CHART = {"deleted": False, "isGenerated": False, "runsCountToCompare": 10}
CHARTS = [
    {
        "type": "IMAGE",
        "uuid": "pictures",
        "metricSectionId": "pictures",
        "imageKeys": [IMAGE],
        "step": 0,
        "showRunParams": False,
    },
    *(
        {"type": "BAR", "uuid": name, "metricSectionId": "measures", "metricKey": name}
        for name in ("psnr", "share_20db", "irec")
    ),
    {
        "type": "LINE",
        "uuid": "loss",
        "metricSectionId": "measures",
        "metricKey": "loss",
        "selectedMetricKeys": ["loss"],
        "scaleType": "log",
        "xAxisKey": "step",
        "lineSmoothness": 0,
    },
]
PRESET = {  # tags of an experiment that MLflow's UI reads
    "mlflow.experimentKind": "custom_model_development",  # the pages for runs, not those for language models
    "mlflow.experiment.primaryMetric.name": "psnr",
    f"mlflow.sharedViewState.{VIEW}": json.dumps(
        {
            "orderByKey": "metrics.`psnr`",
            "orderByAsc": False,
            "searchFilter": "tags.kind = 'cell'",
            "selectedColumns": [
                *(f"tags.`{name}`" for name in COLUMNS),
                *(f"metrics.`{name}`" for name in SHOWN),
            ],
            "compareRunSections": [
                SECTION | {"uuid": "pictures", "name": "Reconstructions", "columns": 1, "cardHeight": 420},
                SECTION | {"uuid": "measures", "name": "What leaks"},
            ],
            "compareRunCharts": [CHART | chart for chart in CHARTS],
        }
    ),
}
PAGE = 1000  # runs a request
LONGEST = 6000  # characters of a param, MLflow's limit
NOTED = {
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "share_20db": ("share at 20 dB or better", 2),
    "irec": ("labels recovered", 2),
}


def create_schema(uri: str) -> None:
    """Make the tables of a new database, or migrate old ones."""
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
    from sqlalchemy import inspect

    with alone(uri, "gradleak/schema"):
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
    blocks: dict[tuple[str, str], tuple[str, str]],
    parameters: dict[str, dict],
    descriptions: dict[str, str],
    say: Callable[..., None] = print,
    seen: str | Path | None = None,
    prune: bool = False,
    shown: Sequence[str | Path] = (),
) -> dict[str, int]:
    """Bring MLflow at ``uri`` to the state of the tables.

    blocks: (cell, block) → paths of the block's record and of its matched pairs. parameters: cell id → {attack, target,
    parameters}. seen: a file that remembers what was read, so that unchanged files are not read again. prune: compare
    every single run, and delete those that are no part of the study any more. shown: figures and tables, kept as the
    artifacts of one more run of each study.
    Returns how many runs were created, replaced, kept and pruned.
    """
    client = _client(uri)
    contents = Contents(blocks, Path(seen) if seen else None)
    done = {"created": 0, "replaced": 0, "kept": 0, "pruned": 0}
    for name, own in trials.groupby("study", sort=False):
        summaries = cells[cells["study"] == name].to_dict("records")
        with alone(uri, f"gradleak/{name}"), _writer(uri, client) as write:
            experiment, fresh = _experiment(client, uri, str(name))
            study = _Study(client, experiment, _naming(own), done, write)
            parents = {} if fresh else _by_id(study.find("tags.kind != 'trial'"))
            rows = {str(cell): group.to_dict("records") for cell, group in own.groupby("cell", sort=False)}
            for at, summary in enumerate(summaries):
                cell = str(summary["cell"])
                _sync_cell(
                    study,
                    summary,
                    rows[cell],
                    contents,
                    parameters[cell],
                    parents.get(cell, []),
                    fresh,
                    prune,
                )
                if at % 100 == 99:
                    say("study %s: %d of %d cells, %s", name, at + 1, len(summaries), done)
            note = descriptions.get(str(name), "")
            if shown:
                times = contents.times(row for own_rows in rows.values() for row in own_rows)
                run = study_run.exhibit(str(name), [Path(path) for path in shown], summaries, times)
                note += _sync_exhibit(study, run, parents.get(study_run.IDENTITY, []))
            _tag(client, experiment, "mlflow.note.content", note)
            if prune:
                _prune(study, rows)
        say("study %s: %s", name, done)
    contents.remember()
    return done


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    with alone(uri, "gradleak/schema"):  # the first use of an empty database makes its tables
        client.search_experiments(max_results=1)
    return client


def links(uri: str, server: str) -> dict[str, str]:
    """Study → the page of the UI at ``server`` that shows its cells, best first, with the columns that matter; then its figures."""
    client, pages = _client(uri), {}
    for experiment in sorted(
        client.search_experiments(filter_string="name LIKE 'gradleak/%'"), key=lambda e: e.name
    ):
        name, number = experiment.name.removeprefix("gradleak/"), experiment.experiment_id
        pages[name] = f"{server}/#/experiments/{number}/runs?viewStateShareKey={VIEW}"
        for run in client.search_runs([number], "tags.kind = 'study'", max_results=1):
            pages[f"{name}, {study_run.NAME}"] = f"{server}/{_address(number, run.info.run_id)}"
    return pages


def _address(experiment_id: str, run_id: str) -> str:
    """The page of the UI that shows a run's artifacts, from its root."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts"


@contextlib.contextmanager
def _writer(uri: str, client: Any) -> Iterator[Callable[[Any, Change], str]]:
    """How a cell's runs are written: straight into the database where ``uri`` is one."""
    if not is_database(uri):
        yield partial(by_client, client)
        return
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(uri)
    try:
        yield partial(in_bulk, engine)
    finally:
        engine.dispose()


class Contents:
    """What the files of blocks hold, read when it is asked for; of unchanged files the digests are remembered."""

    def __init__(self, blocks: dict[tuple[str, str], tuple[str, str]], seen: Path | None):
        self._blocks, self._seen = blocks, seen
        self._known: dict[str, Any] = {}
        if seen and seen.is_file():
            stored = read_json(seen)
            self._known = stored["blocks"] if stored.get("format") == SEEN else {}
        self._checked: set[str] = set()
        self._read: tuple[Any, dict, dict] = (
            None,
            {},
            {},
        )  # the last block: most are asked for several times in a row

    def digest_of(self, row: dict) -> str:
        """The digest of all that the files say of a trial."""
        return self._block(row)["digests"][str(row["seed"])]

    def times(self, rows: Iterable[dict]) -> tuple[int, int]:
        """When the first of these trials began and the last one ended, milliseconds."""
        began, ended = zip(*(self._block(row)["times"] for row in rows), strict=True)
        return min(began), max(ended)

    def _block(self, row: dict) -> dict[str, Any]:
        """What is remembered of a trial's block, read anew if its files have changed."""
        key = f"{row['cell']}/{row['block']}"
        paths = self._blocks[row["cell"], row["block"]]
        if key not in self._checked:
            stamp = [[info.st_mtime_ns, info.st_size] for info in map(os.stat, paths)]
            if self._known.get(key, {}).get("stamp") != stamp:
                self._known[key] = {
                    "stamp": stamp,
                    "times": _times(self.trial(row)[0]),
                    "digests": self._digests(row),
                }
            self._checked.add(key)
        return self._known[key]

    def _digests(self, row: dict) -> dict[str, str]:
        record, pairs, _ = self.trial(row)
        common = {key: value for key, value in record.items() if key != "trials"}
        images = [pairs[name] for name in ("found", "truth") if name in pairs]
        return {
            str(trial["seed"]): digest(
                common, trial, *(hashlib.sha256(part[index].tobytes()).hexdigest() for part in images)
            )
            for index, trial in enumerate(record["trials"])
        }

    def trial(self, row: dict) -> tuple[dict, dict, int]:
        """The record of a trial's block, its matched pairs (none for labels), and the trial's place in both."""
        key = row["cell"], row["block"]
        if self._read[0] != key:
            record, pairs = self._blocks[key]
            self._read = key, read_json(record), read_npz(pairs)
        _, record, pairs = self._read
        return record, pairs, [trial["seed"] for trial in record["trials"]].index(row["seed"])

    def remember(self) -> None:
        if self._seen:
            write_json(self._seen, {"format": SEEN, "blocks": self._known})


@dataclass(frozen=True)
class _Study:
    """Where the runs of one study go."""

    client: Any
    experiment: Any
    varying: list[str]  # the columns that runs are named by
    done: dict[str, int]  # counts, of all studies
    write: Callable[[Any, Change], str]

    def find(self, query: str = "") -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment.experiment_id], query, max_results=PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


@dataclass(frozen=True)
class _Body:
    """What of a run is read from files, and only if the run has to be written. Times in milliseconds."""

    curve: dict[str, list[float]]
    began: int
    ended: int
    image: np.ndarray | None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Wanted:
    """A run as the files want it to be."""

    identity: str
    tags: dict[str, str]
    parameter: dict
    metrics: dict[str, float]
    status: str
    content: str  # digest of what ``read`` returns
    read: Callable[[], _Body]

    @cached_property
    def digest(self) -> str:
        return digest(FORMAT, self.metrics, self.tags, self.parameter, self.status, self.content)

    def run(self) -> Run:
        body, target = self.read(), self.parameter["target"]
        params = {"attack": self.parameter["attack"], "target": target, **self.parameter["parameters"]}
        curve = zip(body.curve.get("step", ()), body.curve.get("objective", ()), strict=True)
        return Run(
            {"trial.id": self.identity, **self.tags, **body.tags},
            self.digest,
            {key: str(value)[:LONGEST] for key, value in params.items()},
            [
                *((key, value, 0) for key, value in self.metrics.items()),
                *(("loss", value, step) for step, value in curve),
            ],
            (self.tags["dataset"], target),
            self.status,
            body.began,
            body.ended,
            body.image,
        )


def _times(record: dict) -> tuple[int, int]:
    """When a block began and ended, milliseconds."""
    began = int(record["started"] * 1000)
    return began, began + int(1000 * record["seconds"]["total"])


def _experiment(client: Any, uri: str, study: str) -> tuple[Any, bool]:
    """A study's experiment, and whether it has no runs yet."""
    from mlflow.exceptions import MlflowException

    name = f"gradleak/{study}"
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, artifact_location=_artifacts(uri, study))
        except MlflowException:
            if client.get_experiment_by_name(name) is None:  # otherwise another writer was faster
                raise
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":  # in the UI, say; its name is still taken
        client.restore_experiment(found.experiment_id)
    for key, value in PRESET.items():
        _tag(client, found, key, value)
    return found, not client.search_runs([found.experiment_id], max_results=1)


def _tag(client: Any, experiment: Any, key: str, value: str) -> None:
    if value and experiment.tags.get(key) != value:
        client.set_experiment_tag(experiment.experiment_id, key, value)


def _artifacts(uri: str, study: str) -> str | None:
    """Images and figures lie beside a SQLite database, else with the results (MLflow would choose ./mlruns); a server has its own place."""
    if not is_database(uri):
        return None
    folder = Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else Path("results/mlflow")
    return (folder.absolute() / "artifacts" / study).as_uri()


def _by_id(runs: Iterable[Any]) -> dict[str, list[Any]]:
    """trial.id → its runs (more than one only after an accident)."""
    known: dict[str, list[Any]] = {}
    for run in runs:
        known.setdefault(run.data.tags.get("trial.id", ""), []).append(run)
    return known


def _sync_cell(
    study: _Study,
    summary: dict,
    rows: list[dict],
    contents: Contents,
    parameter: dict,
    parents: list[Any],
    fresh: bool,
    thorough: bool,
) -> None:
    """The runs of a cell and of its trials. parents: the runs of the cell itself that stand."""
    cell = str(summary["cell"])
    wanted = [_trial_run(study, row, contents, parameter) for row in rows]
    parent = _cell_run(study, summary, rows, contents, parameter)
    mark = digest(parent.digest, sorted((run.identity, run.digest) for run in wanted))
    if not thorough and [run.data.tags.get(MARK) for run in parents] == [mark]:
        study.done["kept"] += 1 + len(wanted)
        return
    standing = {} if fresh else _by_id(study.find(f"tags.cell = '{cell}'"))
    kept = {
        run.identity: found
        for run in (parent, *wanted)
        if (found := _current(run.digest, standing.get(run.identity, [])))
    }
    ids = {run.info.run_id for run in kept.values()}
    above = kept[cell].info.run_id if cell in kept else None
    study.write(
        study.experiment,
        Change(
            mark,
            None if above else parent.run(),
            above,
            trials=[run.run() for run in wanted if run.identity not in kept],
            stale=[
                run.info.run_id for runs in standing.values() for run in runs if run.info.run_id not in ids
            ],
            orphans=[
                run.info.run_id
                for name, run in kept.items()
                if name != cell and run.data.tags.get(PARENT) != above
            ],
        ),
    )
    for run in (parent, *wanted):
        study.done[
            "kept" if run.identity in kept else "replaced" if run.identity in standing else "created"
        ] += 1
    study.done["pruned"] += sum(
        map(len, (standing[name] for name in set(standing) - {r.identity for r in (parent, *wanted)}))
    )


def _sync_exhibit(study: _Study, run: Run, standing: list[Any]) -> str:
    """The run with the study's figures. Returns a link to it, for the experiment's description."""
    kept = _current(run.mark, standing)
    run_id = kept.info.run_id if kept else None
    stale = [other.info.run_id for other in standing if other is not kept]
    if stale or not kept:
        run_id = study.write(study.experiment, Change(run.mark, None if kept else run, run_id, stale=stale))
    study.done["kept" if kept else "replaced" if standing else "created"] += 1
    return f"\n\n[{study_run.NAME.capitalize()}]({_address(study.experiment.experiment_id, run_id)})"


def _current(mark: str, standing: list[Any]) -> Any | None:
    """The run with this digest, if one stands; of several the same one for every writer."""
    whole = [r for r in standing if r.data.tags.get(TRIAL_MARK) == mark and r.info.status != "RUNNING"]
    return min(whole, key=lambda r: r.info.run_id, default=None)


def _prune(study: _Study, rows: dict[str, list[dict]]) -> None:
    """Delete the runs of cells that are no part of the study."""
    for run in list(study.find()):
        if run.data.tags.get("trial.id") != study_run.IDENTITY and run.data.tags.get("cell") not in rows:
            study.client.delete_run(run.info.run_id)
            study.done["pruned"] += 1


def _cell_run(study: _Study, summary: dict, rows: list[dict], contents: Contents, parameter: dict) -> _Wanted:
    """The run of a cell: its means with their intervals, the median curve, and the picture of its first good trial."""
    tags = _tags(summary, parameter) | {
        "kind": "cell",
        "mlflow.runName": _name(summary, study.varying),
        "mlflow.note.content": _note(summary),
    }
    names = [name for name in summary if name not in IDENTITY and not name.startswith("param.")]
    status = "FINISHED" if summary["ok"] == summary["trials"] else "FAILED"
    content = digest([contents.digest_of(row) for row in rows])
    return _Wanted(
        str(summary["cell"]),
        tags,
        parameter,
        _numbers(summary, names),
        status,
        content,
        lambda: _cell_body(rows, contents),
    )


def _cell_body(rows: list[dict], contents: Contents) -> _Body:
    bodies = [_trial_body(row, contents) for row in rows]
    curves = [body.curve for body in bodies if body.curve.get("step")]
    median = {}
    if curves:
        steps = curves[0]["step"]
        values = [np.interp(steps, curve["step"], curve["objective"]) for curve in curves]
        median = {"step": steps, "objective": np.median(values, axis=0).tolist()}
    image = next((body.image for body in bodies if body.image is not None), None)
    return _Body(median, min(body.began for body in bodies), max(body.ended for body in bodies), image)


def _trial_run(study: _Study, row: dict, contents: Contents, parameter: dict) -> _Wanted:
    tags = _tags(row, parameter) | {
        "kind": "trial",
        "seed": str(row["seed"]),
        "draw": str(row["draw"]),
        "block": str(row["block"]),
        **{name: str(row[name]) for name in PLACE if row[name]},
        "mlflow.runName": f"{_name(row, study.varying)} seed={row['seed']}",
    }
    status = "FINISHED" if row["status"] == "ok" else "FAILED"
    return _Wanted(
        f"{row['cell']}/{row['seed']}",
        tags,
        parameter,
        _numbers(row, [*METRICS, *COST]),
        status,
        contents.digest_of(row),
        lambda: _trial_body(row, contents),
    )


def _trial_body(row: dict, contents: Contents) -> _Body:
    record, pairs, index = contents.trial(row)
    tags = {"code": str(record["code"]), **{f"env.{k}": str(v) for k, v in record["environment"].items()}}
    return _Body(record["trials"][index]["history"], *_times(record), _image(row, pairs, index), tags)


def _image(row: dict, pairs: dict, index: int) -> np.ndarray | None:
    if (
        row["status"] != "ok" or row["attack"] == "labels" or not pairs["pairs"][index]
    ):  # it may have accepted nothing
        return None
    return grid(pairs["found"][index], pairs["truth"][index], int(pairs["pairs"][index]))


def _tags(row: dict, parameter: dict) -> dict[str, str]:
    """What runs are filtered and grouped by, on every run alike."""
    names = ("study", "cell", "attack", "target", "batch_size", "weighting", "labels", "control", "method")
    tags = {name: _text(row[name]) for name in names}
    tags["oracle"] = str(bool(row["oracle"])).lower()
    tags["dataset"] = str(parameter["parameters"].get("target.dataset", ""))
    if "status" in row:
        tags["status"] = str(row["status"])
    reason = row.get("reason") or row.get("reasons")
    return tags | ({"reason": str(reason)[:4000]} if reason else {})


def _note(summary: dict) -> str:
    """What the UI shows as a run's description, in Markdown."""
    lines = [f"{summary['ok']} of {summary['trials']} trials ended well, on {summary['draws']} draws."]
    for name, (words, digits) in NOTED.items():
        value, low, high = (summary[name + end] for end in ("", "_low", "_high"))
        if math.isfinite(value):
            interval = "" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})"
            lines.append(f"* {words}: **{value:.{digits}f}**{interval}")
    if summary["reasons"]:
        lines.append(f"* not ok: {summary['reasons']}")
    return "\n".join(
        [
            *lines,
            "",
            f"In the report: `results/report.html#cell-{summary['cell']}`. "
            f"All figures of the study: the run *{study_run.NAME}* (`tags.kind = 'study'`).",
        ]
    )


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


SHORT = {"batch_size": "b"}


def _naming(trials: pd.DataFrame) -> list[str]:
    """The columns in which the cells of a study differ: what a run is named by."""
    candidates = [
        "target",
        "batch_size",
        "method",
        "weighting",
        "labels",
        "control",
        *(
            c
            for c in trials.columns
            if c.startswith("param.") and c not in ("param.target.batch_size", "param.target.samples")
        ),
    ]
    return ["attack", *(c for c in candidates if len({*trials[c].dropna().astype(str)} - {""}) > 1)]


def _name(row: dict, varying: list[str]) -> str:
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
