"""The Snakefile's hooks: one run at a time in a folder, and a report of finished blocks after failures."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from gradleak.workflow import failures, interpreter
from gradleak.workflow.plan import Plan

LOCK = Path(".snakemake/run.lock")
REPORT = Path("results/report.html")
# The files with the rules that show finished blocks: in tables, figures and report, and in MLflow.
AGGREGATES = ("report.smk", "tracking.smk")

_held: list[Any] = []  # files that stay open, and locked, until this process ends


class Busy(Exception):
    """Another run works in this folder."""


def begin() -> None:
    """Lock the folder until this process ends. A killed run leaves no lock behind. Raises Busy."""
    LOCK.parent.mkdir(exist_ok=True)
    stream = LOCK.open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        raise Busy(f"Another run is at work in {Path.cwd()}: {stream.read().strip() or 'unknown'}.") from None
    except OSError:
        return  # a file system without locks
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    stream.flush()
    _held.append(stream)


def report_what_is_done(workflow: Any, config: dict[str, Any], plan: Plan, logs: list[str]) -> None:
    """After failed jobs: tables, report and MLflow of the finished blocks; the others are rows with a reason.

    workflow, config: Snakemake's. logs: the files of its own log of this run.
    """
    said = "".join(Path(log).read_text(encoding="utf-8", errors="replace") for log in logs)
    if not failures.jobs_failed(said):
        print("gradleak: the run was stopped. Finished blocks are kept; the same command goes on from there.")
        return
    print(
        "gradleak: a job failed. The reason is above and in its log under results/logs/. Finished blocks are "
        "kept."
    )
    if len(failures.missing(plan)) == len(plan.asked()):
        print("gradleak: no block is finished, so there is nothing to report")
        return
    given = Path(".snakemake/partial.json")
    given.unlink(missing_ok=True)
    given.touch(mode=0o600)  # the tracking URI can hold a password
    given.write_text(json.dumps({**config, "partial": True}), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    began = time.time()
    try:
        done = subprocess.run(_aggregate(workflow, given), env=environment, capture_output=True, text=True)
    finally:
        given.unlink()
    if REPORT.exists() and REPORT.stat().st_mtime >= began - 1:
        print(f"gradleak: what is done, and why the rest is not: {REPORT}, results/tables/trials.csv")
    else:
        print("gradleak: the report of the finished blocks failed, too")
    if done.returncode:
        print((done.stdout + done.stderr)[-2000:])


def _aggregate(workflow: Any, config: Path) -> list[str]:
    """The command that runs the rules for tables, figures, report and MLflow with the file ``config``."""
    rules = [rule for rule in workflow.rules if Path(rule.snakefile).name in AGGREGATES]
    return [
        *(interpreter.PYTHON, "-m", "snakemake", "--snakefile", str(workflow.main_snakefile)),
        *("--cores", "1", "--executor", "local", "--nolock", "--no-hooks", "--keep-going"),
        *("--quiet", "all", "--configfile", str(config)),
        *("--allowed-rules", "all", *(rule.name for rule in rules), "--", "all"),
    ]
