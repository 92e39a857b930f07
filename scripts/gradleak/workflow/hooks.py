"""A run of Snakemake in a folder: alone in it, and with a last word when jobs have failed. Called by the Snakefile's hooks."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gradleak.workflow import failures

LOCK = Path(".snakemake/run.lock")
AGGREGATES = (
    "list_cells",
    "summarise",
    "plot",
    "plot_mapping",
    "plot_prior",
    "assess_prospects",
    "write_report",
)
TABLES = [f"results/tables/{name}.csv" for name in ("trials", "cells", "labels")]

_held: list[Any] = []  # open for as long as this process lives


class Busy(Exception):
    """Another run is at work in this folder."""


def begin() -> None:
    """Lock the folder for as long as this process lives, however it ends: what was killed can just be started again."""
    LOCK.parent.mkdir(exist_ok=True)
    stream = LOCK.open("a+")
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


def report_what_is_done(snakefile: str, config: dict[str, Any], logs: list[str]) -> None:
    """After failed jobs: tables and report of all that is done, in which the rest are rows with a reason.

    logs: of the run itself.
    """
    if not failures.jobs_failed("".join(Path(log).read_text(errors="replace") for log in logs)):
        return
    given = Path(".snakemake/partial.json")
    given.write_text(json.dumps({**config, "partial": True}))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        snakefile,
        "--cores",
        "1",
        "--executor",
        "local",
        "--nolock",
        "--no-hooks",
        "--quiet",
        "all",
        "--configfile",
        str(given),
        "--allowed-rules",
        *AGGREGATES,
        "--",
        *TABLES,
        "results/cells.csv",
        "results/report.html",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(
            f"gradleak: nothing to report yet, or the report failed too:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    else:
        print(
            "gradleak: what is done, and why the rest is not: results/report.html, results/tables/trials.csv"
        )
