"""Results → MLflow: an index of the files, rebuilt from them at any time.

A study is one experiment, a cell one parent run, a trial one run; one more run holds the study's figures and
tables. A run is identified by its tag ``trial.id``. Its tag ``trial.digest`` is the digest of all that it
shows: if that is right, the run is left alone, else it is replaced; nothing is ever appended to a run. Runs
are written whole (see ``write_runs``). One without a digest, or still RUNNING, was left by a killed sync, and
is replaced.

The run of a cell also carries ``cell.digest``, the digest of its trials' digests, written after all of them.
A cell with the right digest, and with its picture, is not looked into, so syncing ten thousand unchanged
trials is cheap. ``prune`` compares the content of every run, and deletes the runs of cells that the study no
longer has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gradleak.evaluation import cell_names
from gradleak.records import digest
from gradleak.tracking import artifact_folders, stores, study_run
from gradleak.tracking.artifact_folders import PREFIX
from gradleak.tracking.contents import BlockFiles
from gradleak.tracking.experiments import address, experiment_of, set_tag, view_address
from gradleak.tracking.locks import SQLITE, alone
from gradleak.tracking.wanted_runs import CellRows, WantedRun, cell_run, trial_run, trial_suffix
from gradleak.tracking.write_runs import MARK, PARENT, TRIAL_MARK, Change, Run, differences

PAGE = 1000  # runs a request
LONGEST_NAME = 40  # characters of a run's name: longer ones are cut in the UI's table


@dataclass(frozen=True)
class Results:
    """What the workflow has computed, for all studies that ran together."""

    trials: pd.DataFrame
    cells: pd.DataFrame
    blocks: dict[
        tuple[str, str], tuple[str, str]
    ]  # (cell, block) → paths of its record and its matched pairs
    settings: dict[str, dict]  # cell → {"attack", "target", "parameters"}
    descriptions: dict[str, str]  # study → one line
    shown: Sequence[str | Path] = ()  # figures and tables, kept as artifacts of one run of each study


def sync(
    uri: str,
    results: Results,
    say: Callable[..., None] = print,
    seen: str | Path | None = None,
    prune: bool = False,
) -> dict[str, int]:
    """Bring MLflow at ``uri`` to the state of ``results``.

    seen: a file that remembers what was read, so that unchanged files are not read again. prune: compare
    every run, and delete those that are not in the study. Returns how many runs were created, replaced, kept
    and pruned.
    """
    for name in artifact_folders.move_here(uri):
        say("experiment %s: its pictures are looked for in this folder now", name)
    client = stores.client_of(uri)
    contents = BlockFiles(results.blocks, Path(seen) if seen else None)
    done = {"created": 0, "replaced": 0, "kept": 0, "pruned": 0}
    for name in dict.fromkeys(results.trials["study"]):
        with alone(uri, f"{PREFIX}{name}"), stores.writer(uri, client) as write:
            cells = _cells_of(str(name), results)
            experiment = experiment_of(client, uri, str(name), [cell.summary for cell in cells])
            # Pictures in a shared database can be on another machine. Only prune looks for those.
            looks = prune or uri.startswith(SQLITE)
            study = _Study(str(name), client, experiment, contents, done, write, prune, looks)
            _sync_study(study, cells, results, say)
        say("study %s: %s", name, done)
    contents.remember()
    return done


@dataclass(frozen=True)
class _Study:
    """Where the runs of one study go, and what is written of it."""

    name: str
    client: Any
    experiment: Any
    contents: BlockFiles
    done: dict[str, int]  # counts, of all studies
    write: Callable[[Any, Change], str]
    prune: bool
    looks: bool  # whether the files of runs are looked for

    def current(
        self, mark: str, present: list[Any], wanted: Callable[[], Run], files: Sequence[Path] = ()
    ) -> Any | None:
        """The complete run with this digest, if there is one; of several the same one for every writer.

        wanted: what it should hold, called only where runs are compared. files: its artifacts.
        """
        whole = [r for r in present if r.data.tags.get(TRIAL_MARK) == mark and r.info.status != "RUNNING"]
        content = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
        right = [
            run
            for run in whole
            if self.has_files(run, content) and not (self.prune and differences(wanted(), run))
        ]
        return min(right, key=lambda run: run.info.run_id, default=None)

    def has_files(self, found: Any, files: Mapping[str, bytes]) -> bool:
        """Whether the picture and the other ``files`` of a run are there, as far as this sync looks."""
        return not self.looks or artifact_folders.are_there(self.client, found, files)

    def find(self, query: str = "") -> Iterator[Any]:
        """The runs of the study that match MLflow's ``query``."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment.experiment_id], query, max_results=PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def _sync_study(study: _Study, cells: Sequence[CellRows], results: Results, say: Callable[..., None]) -> None:
    is_new = not study.client.search_runs([study.experiment.experiment_id], max_results=1)
    parents = {} if is_new else _by_id(study.find("tags.kind != 'trial'"))
    for at, cell in enumerate(cells):
        _sync_cell(study, cell, parents.get(str(cell.summary["cell"]), []), is_new)
        if at % 100 == 99:
            say("study %s: %d of %d cells, %s", study.name, at + 1, len(cells), study.done)
    note = results.descriptions.get(study.name, "")
    note += f"\n\n[Compare the cells, best first]({view_address(study.experiment.experiment_id)})"
    if results.shown:
        times = study.contents.times(row for cell in cells for row in cell.trials)
        files = [Path(path) for path in results.shown]
        run = study_run.wanted(study.name, files, [cell.summary for cell in cells], times)
        note += _sync_study_run(study, run, parents.get(study_run.IDENTITY, []))
    set_tag(study.client, study.experiment, "mlflow.note.content", note)
    if study.prune:
        _prune(study, {str(cell.summary["cell"]) for cell in cells})


def _cells_of(study: str, results: Results) -> list[CellRows]:
    """The cells of a study with their names and rows."""
    own = results.trials[results.trials["study"] == study]
    rows = {str(cell): group.to_dict("records") for cell, group in own.groupby("cell", sort=False)}
    summaries = results.cells[results.cells["study"] == study].to_dict("records")
    limit = LONGEST_NAME - len(trial_suffix(int(own["seed"].max())))
    return [
        CellRows(name, summary, rows[cell], results.settings[cell])
        for name, summary in zip(cell_names.short_names(summaries, limit), summaries, strict=True)
        for cell in [str(summary["cell"])]
    ]


def _sync_cell(study: _Study, cell: CellRows, parents: list[Any], is_new: bool) -> None:
    """Sync the runs of a cell and of its trials.

    parents: the present runs of the cell itself. is_new: whether the experiment had no runs at all.
    """
    parent = cell_run(cell, study.contents)
    wanted = [trial_run(row, cell, study.contents) for row in cell.trials]
    mark = digest(parent.digest, sorted((run.identity, run.digest) for run in wanted))
    has_mark = [run.data.tags.get(MARK) for run in parents] == [mark]
    if has_mark and not study.prune and study.has_files(parents[0], {}):
        study.done["kept"] += 1 + len(wanted)
        return
    present = {} if is_new else _by_id(study.find(f"tags.cell = '{parent.identity}'"))
    kept = {
        run.identity: found
        for run in (parent, *wanted)
        if (found := study.current(run.digest, present.get(run.identity, []), run.run))
    }
    study.write(study.experiment, _change(mark, parent, wanted, present, kept))
    identities = {run.identity for run in (parent, *wanted)}
    for identity in identities:
        outcome = "kept" if identity in kept else "replaced" if identity in present else "created"
        study.done[outcome] += 1
    study.done["pruned"] += sum(len(runs) for name, runs in present.items() if name not in identities)


def _change(
    mark: str,
    parent: WantedRun,
    wanted: list[WantedRun],
    present: dict[str, list[Any]],
    kept: dict[str, Any],
) -> Change:
    """The change from the runs ``present`` to ``parent`` and ``wanted``. kept: runs that are right."""
    ids = {run.info.run_id for run in kept.values()}
    above = kept[parent.identity].info.run_id if parent.identity in kept else None
    return Change(
        mark,
        None if above else parent.run(),
        above,
        trials=[run.run() for run in wanted if run.identity not in kept],
        stale=[run.info.run_id for runs in present.values() for run in runs if run.info.run_id not in ids],
        orphans=[
            run.info.run_id
            for name, run in kept.items()
            if name != parent.identity and run.data.tags.get(PARENT) != above
        ],
    )


def _sync_study_run(study: _Study, run: Run, present: list[Any]) -> str:
    """Sync the run with the study's figures. Returns a link to it, for the experiment's description."""
    kept = study.current(run.mark, present, lambda: run, run.files)
    run_id = kept.info.run_id if kept else ""
    stale = [other.info.run_id for other in present if other is not kept]
    if stale or not kept:
        run_id = study.write(
            study.experiment, Change(run.mark, None if kept else run, run_id or None, stale=stale)
        )
    study.done["kept" if kept else "replaced" if present else "created"] += 1
    return f"\n\n[{study_run.NAME.capitalize()}]({address(study.experiment.experiment_id, run_id)})"


def _prune(study: _Study, cells: set[str]) -> None:
    """Delete the runs of cells that are not in the study."""
    for run in list(study.find()):
        if run.data.tags.get("trial.id") != study_run.IDENTITY and run.data.tags.get("cell") not in cells:
            study.client.delete_run(run.info.run_id)
            study.done["pruned"] += 1


def _by_id(runs: Iterable[Any]) -> dict[str, list[Any]]:
    """trial.id → its runs (more than one only after an accident)."""
    known: dict[str, list[Any]] = {}
    for run in runs:
        known.setdefault(run.data.tags.get("trial.id", ""), []).append(run)
    return known
