"""Draws, blocks of draws and parameters of a cell."""

from gradleak.workflow import config, study

DLG = {"attack": "dlg", "target": "demo"}


def only_cell(plan):
    return next(iter(plan.cells.values()))


def test_seed_s_attacks_draw_s_modulo_draws(plan_of):
    cell = only_cell(plan_of(DLG | {"target.draws": 3}))
    assert cell.draws([0, 1, 2, 3, 7]) == [0, 1, 2, 0, 1]


def test_a_foreign_target_has_one_draw(raw, tmp_path):
    (tmp_path / "delta.npz").write_bytes(b"x")
    raw["targets"]["mine"] = {"source": "local", "path": str(tmp_path)}
    raw["studies"]["demo"] |= {"cells": [DLG | {"target": "mine"}], "seeds": 12}
    plan = study.plan(config.load(raw, tmp_path))
    cell = only_cell(plan)
    assert cell.draws([0, 5, 11]) == [0, 0, 0]
    assert {block for _, block in plan.mapped()} == {"0000-0000"}


def test_draws_are_made_in_fixed_runs_that_hold_them(plan_of):
    target = only_cell(plan_of(DLG | {"target.draws": 20})).target
    assert target.draw_blocks([0, 7]) == ["0000-0007"]
    assert target.draw_blocks([15, 8, 16]) == ["0008-0015", "0016-0023"]


def test_more_draws_or_seeds_leave_the_earlier_targets_alone(plan_of):
    few = plan_of(DLG | {"target.draws": 8}, seeds=8)
    many = plan_of(DLG | {"target.draws": 24}, seeds=24)
    assert set(few.mapped()) < set(many.mapped())


def test_parameters_hold_defaults_too(plan_of):
    parameters = only_cell(plan_of(DLG | {"steps": 9})).parameters
    assert parameters["steps"] == 9
    assert parameters["loss"] == "cosine"
    assert parameters["target.batch_size"] == 32
    assert "target.draws" not in parameters
