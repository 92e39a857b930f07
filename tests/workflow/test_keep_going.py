"""Jobs that fail: the others finish, failures are rows with a reason, and the exit code is not zero."""

import fcntl
import sqlite3

import pandas as pd
import pytest
from conftest import TINY

pytestmark = pytest.mark.workflow
STUDY = {
    **TINY,
    "study": "faults",
    "studies": {
        "faults": {
            "seeds": 6,
            "block_size": 2,
            "cells": [{"attack": "labels", "target": "tiny", "axes": {"method": ["idlg", "uniform"]}}],
        }
    },
}
FAULT = """
    method = snakemake.params.spec.get("method")
    if Path("fault").exists() and snakemake.wildcards.block == "0002-0003" and method == "uniform":
        raise RuntimeError("injected fault")
"""


def test_one_block_in_six_fails(rerun):
    script = rerun.folder / "scripts/recover_labels.py"
    source = script.read_text().replace("import time\n", "import time\nfrom pathlib import Path\n", 1)
    script.write_text(
        source.replace("    began = time.monotonic()\n", f"    began = time.monotonic()\n{FAULT}", 1)
    )
    rerun.configure(STUDY)
    (rerun.folder / "fault").touch()
    output = rerun.snakemake("--quiet", "rules", ok=False)  # as make run does
    assert "RuntimeError: injected fault" in output
    assert "why the rest is not: results/report.html" in output

    trials = pd.read_csv(rerun.folder / "results/tables/trials.csv", dtype={"reason": str})
    assert len(trials) == 2 * 6
    failed = trials[trials["status"] != "ok"]
    assert sorted(failed["seed"]) == [2, 3]
    assert set(failed["status"]) == {"failed"}
    assert set(failed["method"]) == {"uniform"}
    assert failed["reason"].str.contains("injected fault").all()
    assert failed["reason"].str.contains("results/logs/recover_labels/").all()
    assert trials.loc[trials["status"] == "ok", "irec"].notna().all()
    cells = pd.read_csv(rerun.folder / "results/tables/cells.csv")
    assert sorted(cells["ok"]) == [4, 6]
    page = (rerun.folder / "results/report.html").read_text()
    assert "Not ok: 2 of 12 trials" in page
    assert "injected fault" in page

    with sqlite3.connect(rerun.folder / "results/mlflow/mlflow.db") as database:
        failed = database.execute(
            "select t.value from runs r join tags t on t.run_uuid = r.run_uuid join tags k on "
            "k.run_uuid = r.run_uuid where r.status = 'FAILED' and t.key = 'reason' and k.value = 'trial'"
        ).fetchall()
    assert len(failed) == 2
    assert all("injected fault" in reason for (reason,) in failed)

    (rerun.folder / "fault").unlink()
    planned = rerun.planned()
    assert {rule: planned[rule] for rule in ("recover_labels", "score", "summarise", "write_report")} == {
        "recover_labels": 1,
        "score": 1,
        "summarise": 1,
        "write_report": 1,
    }


def test_a_folder_takes_one_run_at_a_time(rerun):
    (rerun.folder / "results/report.html").unlink()
    with (rerun.folder / ".snakemake/run.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        output = rerun.snakemake(ok=False)
    assert "Another run is at work in" in output
    assert not (rerun.folder / "results/report.html").exists()
