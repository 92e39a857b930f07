"""The arguments of ``make audit``: their errors, the config, and how time becomes seeds."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradleak.workflow import audit, audit_config, config, study
from gradleak.workflow.audit_config import Arguments

GOOD = dict.fromkeys(("labels", "dlg", "latent", "span"), "good")


@pytest.fixture
def leak(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaks/mine").mkdir(parents=True)
    (tmp_path / "leaks/mine/net.json").touch()
    np.savez(tmp_path / "own.npz", x=np.zeros(1))
    return "leaks/mine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "LEAK is missing"),
        (["--leak=none"], "LEAK=none: there is no such folder"),
        (["--leak=own.npz"], "LEAK=own.npz: is a file; name its folder"),
        (["--leak=leaks/mine", "--truth=no.npz"], "TRUTH=no.npz: there is no such file"),
        (["--leak=leaks/mine", "--public=mnist5k"], r"PUBLIC=mnist5k: .*did you mean mnist-5k\?"),
        (
            ["--leak=leaks/mine", "--public=no.csv"],
            "PUBLIC=no.csv: is neither a built-in data set .* nor a file or folder",
        ),
        (["--leak=leaks/mine", "--samples=two"], "SAMPLES=two: must be a whole number above 0"),
        (["--leak=leaks/mine", "--samples=0"], "SAMPLES=0"),
        (["--leak=leaks/mine", "--minutes=-1"], "MINUTES=-1: must be a number above 0"),
        (["--leak=leaks/mine", "--minutes=nan"], "MINUTES=nan"),
    ],
)
def test_wrong_arguments_are_one_error_with_their_name(leak, given, message):
    with pytest.raises(SystemExit, match=f"make audit: {message}"):
        audit.main(given)


def planned(arguments, prospects=None, seeds=1):
    return study.plan(config.load(audit_config.audit_config(arguments, prospects, seeds)))


def cells(plan):
    return sorted((c.attack, getattr(c.options, "control", "none")) for c in plan.cells.values())


def test_the_config_is_valid_and_asks_for_what_has_a_prospect(leak):
    (target,) = planned(Arguments(leak)).targets.values()
    assert (target.options.dataset, target.options.samples, target.options.truth) == ("none", None, None)
    assert {attack for attack, _ in cells(planned(Arguments(leak)))} == {"labels"}, "before the mapping"
    some = {**GOOD, "span": "none", "latent": "poor"}
    found = cells(planned(Arguments(leak, "mnist-5k"), some))
    assert found.count(("dlg", "random_gradient")) == 1
    assert {attack for attack, _ in found} == {"labels", "dlg"}
    every = cells(planned(Arguments(leak, "mnist-5k"), GOOD))
    assert {("span", "random_gradient"), ("latent", "label_only")} <= set(every)
    assert "latent" not in {attack for attack, _ in cells(planned(Arguments(leak), GOOD))}, "no public images"


def test_own_public_data_truth_and_samples_reach_the_target(leak):
    arguments = Arguments(leak, "own.npz", "own.npz", 2)
    made = audit_config.audit_config(arguments, GOOD)
    assert made["datasets"] == {"public": {"path": "own.npz"}}
    (target,) = planned(arguments, GOOD).targets.values()
    assert (target.options.dataset, target.options.truth, target.options.samples) == ("public", "own.npz", 2)


def test_further_seeds_leave_the_first_blocks(leak):
    first, more = planned(Arguments(leak), GOOD), planned(Arguments(leak), GOOD, 3)
    assert set(first.asked()) < set(more.asked())


def test_a_recorded_run_has_a_seed_for_each_update(leak, tmp_path):
    for place in ("round-0001/client-a", "round-0002/client-a"):
        folder = tmp_path / leak / place
        folder.mkdir(parents=True)
        for name in ("before.npz", "delta.npz", "meta.json"):
            (folder / name).touch()
    plan = planned(Arguments(leak), GOOD, 2)
    (target,) = plan.targets.values()
    assert target.draws == 2
    first = {path.split("/")[2] for path in audit.first_files(plan)}
    assert [(plan.cells[c].attack, plan.cells[c].options.control) for c in first] == [("span", "none")]
    cell = next(iter(plan.cells))
    assert sorted(block for c, block in plan.asked() if c == cell) == [f"000{s}-000{s}" for s in range(4)]


def test_seeds_fill_the_time_by_what_the_first_ones_took(leak, tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "BENCHMARKS", tmp_path / "benchmarks")
    plan = planned(Arguments(leak), GOOD)
    assert audit.seeds_within(plan, 100, 2) == 1, "no time is known"
    for cell, block in plan.asked():
        rule = {"labels": "recover_labels", "dlg": "invert_pixels", "span": "invert_span"}
        path = tmp_path / "benchmarks" / rule[plan.cells[cell].attack] / cell / f"{block}.tsv"
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t")
            writer.writerows([["s"], [10]])
    each = 10 * len(plan.asked())
    assert audit.seeds_within(plan, 10 * each, 1) == 1 + 8


def test_all_certified_ends_the_search():
    assert audit.all_certified({"samples": {"value": 2}, "inputs_certified": 2})
    assert not audit.all_certified({"samples": {"value": 2}, "inputs_certified": None})
    assert not audit.all_certified({"samples": 8, "inputs_certified": 4})


def test_an_audit_that_is_asked_to_end_ends_its_snakemake(tmp_path):
    """Snakemake runs in a session of its own, which a signal to the audit does not reach."""
    stand_in = tmp_path / "snakemake.py"
    stand_in.write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "import signal, time\nfrom gradleak.workflow import audit\n"
        "signal.signal(signal.SIGTERM, audit._terminate)\n"
        "audit.Run(1, time.monotonic() + 60, []).snakemake()\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3] / "scripts")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as process:
        written = tmp_path / "pid"
        until = time.monotonic() + 30
        while not (written.exists() and written.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(written.read_text()), 0)


def test_a_recorded_run_goes_on_without_an_update_that_has_no_mapping(leak, tmp_path, monkeypatch, capsys):
    for client in (7, 8):
        folder = tmp_path / f"leaks/run/round-0001/client-{client}"
        folder.mkdir(parents=True)
        for name in ("before.npz", "delta.npz", "meta.json"):
            (folder / name).touch()
    (tmp_path / "leaks/run/model.json").touch()
    plan = audit.write(audit_config.audit_config(Arguments("leaks/run"), None))
    monkeypatch.setattr(audit.Run, "snakemake", lambda *_, **__: True)
    work = audit.Run(1, time.monotonic() + 60, [])
    with pytest.raises(SystemExit):
        audit.has_unmapped(work, plan)
    first, second = audit.prospect_files(plan)
    for path, expected in ((first, True), (second, False)):
        path.parent.mkdir(parents=True)
        path.write_text('[{"attack": "span", "expect": "good", "why": ""}]')
        assert audit.has_unmapped(work, plan) == expected
        assert audit.prospects_of(plan) == {"span": "good"}
    assert "1 updates of the run were not understood" in capsys.readouterr().out


def test_an_audit_without_a_finished_attack_is_one_error(leak, monkeypatch):
    """The report of no trial at all has no verdict."""
    monkeypatch.setattr(audit, "has_unmapped", lambda *_: False)
    monkeypatch.setattr(audit, "prospects_of", lambda _: GOOD)
    monkeypatch.setattr(audit.Run, "snakemake", lambda *_, limited=True, **__: not limited)
    with pytest.raises(SystemExit, match=r"MINUTES=1: no attack finished .* MINUTES=2"):
        audit.main(["--leak=leaks/mine", "--minutes=1"])
