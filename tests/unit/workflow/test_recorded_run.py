"""Recorded runs: which folders are draws, their order, and one error for each thing that is missing."""

import pytest

from gradleak.workflow import config, recorded_run, resolve, study

CELL = {"attack": "labels", "target": "run", "method": "uniform"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two rounds of two clients, and an aggregate in a third."""
    monkeypatch.chdir(tmp_path)
    for place in (
        "round-0001/client-10",
        "round-0001/client-9",
        "round-0002/client-9",
        "round-0003/aggregate",
    ):
        folder = tmp_path / "run" / place
        folder.mkdir(parents=True)
        for name in recorded_run.NEEDED:
            (folder / name).touch()
    (tmp_path / "run/round-0003/.client-1.part").mkdir()
    (tmp_path / "run/model.json").touch()
    return tmp_path / "run"


def plan(seeds=4, **target):
    raw = {
        "study": "s",
        "targets": {"run": {"source": "local", "path": "run", **target}},
        "studies": {"s": {"seeds": seeds, "cells": [CELL]}},
    }
    return study.plan(config.load(raw))


def only(planned):
    (target,) = planned.targets.values()
    return target


def test_every_round_and_client_is_a_draw(run):
    planned = plan(rounds="all")
    target = only(planned)
    places = [(one.round, one.client) for one in target.recorded]
    assert places == [(1, "9"), (1, "10"), (2, "9"), (3, "aggregate")]
    assert [block for _, block in planned.asked()] == ["0000-0000", "0001-0001", "0002-0002", "0003-0003"]
    assert resolve.local_files(target, "0001-0001") == [
        "run/model.json",
        *(f"run/round-0001/client-10/{name}" for name in recorded_run.NEEDED),
    ]
    names = [planned.update_name(target.id, block) for _, block in planned.mapped()]
    assert names[1].endswith("round 1, client 10")
    assert names[3].endswith("round 3, aggregate")


def test_the_model_may_be_an_onnx_file(run):
    (run / "model.json").rename(run / "model.onnx")
    assert resolve.local_files(only(plan(rounds="all")), "0000-0000")[0] == "run/model.onnx"


def test_rounds_and_clients_choose(run):
    assert [one.folder for one in only(plan(rounds=[2, 3])).recorded] == [
        "run/round-0002/client-9",
        "run/round-0003/aggregate",
    ]
    assert [one.round for one in only(plan(clients=[9])).recorded] == [1, 2]
    assert [one.round for one in only(plan(rounds="all", clients=["aggregate"])).recorded] == [3]


def test_more_seeds_come_back_to_the_first_draw(run):
    planned = plan(seeds=6, rounds="all")
    (cell,) = planned.cells.values()
    assert cell.draws([4, 5]) == [0, 1]


@pytest.mark.parametrize(
    ("spoil", "target", "message"),
    [
        (lambda run: None, {}, "set `rounds: all`"),
        (lambda run: None, {"rounds": [7]}, r"targets\.run\.rounds: 7 not in 'run'; there are 1, 2, 3"),
        (
            lambda run: None,
            {"clients": ["x"]},
            r"targets\.run\.clients: x in none .* there are 9, 10, aggregate",
        ),
        (
            lambda run: (run / "round-0002/client-9/delta.npz").unlink(),
            {"rounds": "all"},
            "run/round-0002/client-9: delta.npz is missing",
        ),
        (lambda run: (run / "model.json").unlink(), {"rounds": "all"}, "no file of the model in 'run'"),
        (lambda run: None, {"rounds": "all", "path": "none"}, "no folder round-0001"),
        (lambda run: None, {"rounds": "all", "truth": "t"}, "'t/round-0001/client-9.npz' is not a file"),
        (lambda run: None, {"rounds": "some"}, r"targets\.run\.rounds"),
    ],
)
def test_what_is_missing_is_one_error_with_its_place(run, spoil, target, message):
    spoil(run)
    with pytest.raises(config.ConfigError, match=message):
        plan(**target)


def test_a_folder_keeps_its_id(tmp_path, monkeypatch):
    """Options of recorded runs are neutral."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.json").touch()
    assert only(plan(seeds=1)).id == "eaa931a04b"
