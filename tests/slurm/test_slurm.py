"""A sweep on a real SLURM while things go wrong: once through it all, then each promise by itself."""

import os
import re
import shutil
import signal
import subprocess
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import projects

pytestmark = pytest.mark.workflow
UNTIL_ASKED = timedelta(seconds=20)  # that a Snakemake takes at most until it asks for the queue
STEPS = 12000  # some seconds more than SLURM takes to preempt a job
STUDY = {
    "study": "storm",
    "targets": projects.TINY["targets"],
    "studies": {
        "storm": {
            "seeds": 4,
            "block_size": 1,
            "cells": [
                {"attack": "labels", "target": "tiny", "method": "rank1"},
                {"attack": "dlg", "target": "tiny", "label_method": "rank1", "steps": STEPS},
            ],
        }
    },
}
TABLES = "results/tables/trials.csv"
SAME = ["cell", "seed", "attack", "status", "objective", "psnr", "ssim", "irec"]


def wait_for(what, process, seconds=240):
    """What ``what()`` returns, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None, f"the run ended early:\n{process.log.read_text()[-6000:]}"
        assert time.monotonic() < deadline, process.log.read_text()[-6000:]
        time.sleep(0.2)
    return found


def start(project, name):
    log = project.folder / name
    with log.open("w") as stream:
        process = subprocess.Popen(
            project.command("--jobs", "4", "--seconds-between-status-checks", "2", TABLES),
            cwd=project.folder,
            env=project.environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    process.log = log
    return process


@pytest.fixture(scope="module")
def storm(project, lab):
    """A sweep with a cancelled job, a preempted job, a lost node, and Snakemake killed and restarted."""
    sweep = project(STUDY)

    def running(prefix, *fields):
        jobs = lab.jobs("JobID", "Name", "NodeList", states="RUNNING")
        return [
            SimpleNamespace(id=job, name=name, node=node)
            for job, name, node in jobs
            if name.startswith(prefix)
        ]

    def stepping():
        """Attack jobs that have saved a state."""
        done = [p.parent.name.split("-") for p in sweep.folder.glob("results/checkpoints/*/*/state.npz")]
        blocks = {"-".join(parts[:2]) for parts in done}
        return [job for job in running("invert_pixels") if job.name.split(".")[-1] in blocks]

    first = start(sweep, "first.log")
    (cancelled, *_) = wait_for(lambda: running("invert_pixels"), first)
    lab.run("scancel", cancelled.id)
    (preempted, *_) = wait_for(lambda: [job for job in stepping() if job.id != cancelled.id], first)
    # Another's urgent job takes the whole node.
    lab.run(
        "sbatch",
        "--partition=urgent",
        f"--nodelist={preempted.node}",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 1",
    )
    wait_for(lambda: preempted.id not in [job.id for job in running("invert_pixels")], first)
    time.sleep(1)  # for the chunk of steps in which the signal met it
    # Its state held a chunk of 50 steps at least. It may be the next try of the cancelled job, and have
    # reported nothing yet.
    preempted.reached = [50, *steps_reported(sweep, preempted)][-1]
    others = {cancelled.id, preempted.id}
    lost = wait_for(
        lambda: [job for job in running("") if job.node == "n2" and "." in job.name and job.id not in others],
        first,
    )
    lab.kill_node("n2")
    time.sleep(2)
    lab.start_node("n2")
    left = wait_for(lambda: [job for job in running("invert_pixels") if job.id not in others], first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    restarted = datetime.now()
    second = start(sweep, "second.log")
    assert second.wait(400) == 0, second.log.read_text()[-8000:]
    trials = pd.read_csv(sweep.folder / TABLES, dtype={"job": str})
    return SimpleNamespace(
        sweep=sweep,
        trials=trials,
        cancelled=cancelled,
        preempted=preempted,
        lost=lost,
        left=left,
        restarted=restarted,
        accounted=lab.accounted("JobID", "JobName", "State", "NodeList", "End"),
        log=second.log.read_text(),
    )


def steps_reported(sweep, job):
    """By the log of the attack block that ``job`` is at, or was at last."""
    rule, cell, block = job.name.split(".")
    log = sweep.folder / "results/logs" / rule / cell / f"{block}.log"
    return [int(step) for step in re.findall(r"step (\d+)/", log.read_text())]


def states(storm, job):
    return [row["State"] for row in storm.accounted if row["JobID"] == job.id]


def jobs_named(storm, name):
    return {row["JobID"] for row in storm.accounted if row["JobName"] == name}


def test_every_block_is_done_on_two_nodes(storm):
    assert len(storm.trials) == 8
    assert set(storm.trials["status"]) == {"ok"}
    assert {row["NodeList"] for row in storm.accounted} >= {"n1", "n2"}


def test_tables_name_the_job_of_every_block(storm):
    completed = {row["JobID"] for row in storm.accounted if row["State"] == "COMPLETED"}
    assert set(storm.trials["job"]) <= completed
    assert (storm.trials["cpu_seconds"] > 0).all()
    assert (storm.trials["host"] != "").all()


def test_a_cancelled_job_is_tried_again(storm):
    assert states(storm, storm.cancelled)[-1].startswith("CANCELLED")
    block = storm.trials[storm.trials["block"] == storm.cancelled.name.split(".")[-1]]
    (job,) = block.loc[block["attack"] == "dlg", "job"]
    assert job != storm.cancelled.id
    assert job in jobs_named(storm, storm.cancelled.name)


def test_a_preempted_job_comes_back_under_its_number_and_goes_on_from_its_state(storm):
    found = states(storm, storm.preempted)
    assert {"PREEMPTED", "COMPLETED"} <= set(found), found
    block = storm.preempted.name.split(".")[-1]
    (job,) = storm.trials.loc[(storm.trials["attack"] == "dlg") & (storm.trials["block"] == block), "job"]
    # A job that ends while no Snakemake lives leaves a block that the next one does again, from the start;
    # and so does a job that was through with its steps when the signal came.
    if job == storm.preempted.id and storm.preempted.reached < STEPS:
        assert steps_reported(storm.sweep, storm.preempted)[0] > storm.preempted.reached


def test_jobs_outlive_the_daemon_of_their_node(storm):
    for job in storm.lost:
        assert states(storm, job)[-1] == "COMPLETED"


def test_a_killed_snakemake_takes_over_what_it_had_submitted(storm):
    for job in storm.left:
        if f"with external jobid '{job.id}'" in storm.log:
            assert jobs_named(storm, job.name) - {storm.cancelled.id} == {job.id}, "not submitted again"
        else:  # it ended before the next Snakemake had asked SLURM for what there is
            ends = [row["End"] for row in storm.accounted if row["JobID"] == job.id]
            assert datetime.fromisoformat(ends[-1]) < storm.restarted + UNTIL_ASKED


def test_the_tables_are_those_of_an_undisturbed_local_run(storm):
    local = projects.Project(storm.sweep.folder.parent / "local")
    shutil.copytree(storm.sweep.folder, local.folder, symlinks=True)
    for folder in ("inversions", "labels", "scores", "tables"):
        shutil.rmtree(local.folder / "results" / folder)
    local.snakemake("--", TABLES)
    here, there = (pd.read_csv(p.folder / TABLES) for p in (local, storm.sweep))
    pd.testing.assert_frame_equal(here[SAME], there[SAME])
    arrays = ("results/inversions/*/*.npz", "results/labels/*/*.npz")
    assert local.arrays_unlike(storm.sweep.bytes_of(*arrays), *arrays) == []
    assert len(local.bytes_of(*arrays)) == 8
