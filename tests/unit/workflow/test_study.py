"""Studies expanded into cells and blocks, and what one cell asks of another."""

import pytest

from gradleak.workflow import cells, config, study
from gradleak.workflow.config import ConfigError

DLG = {"attack": "dlg", "target": "demo"}


def only_cell(plan):
    return next(iter(plan.cells.values()))


def ids(plan):
    return {cell for cell, _ in plan.asked()}


def test_adding_seeds_asks_for_new_blocks_only(plan_of):
    entry = DLG | {"axes": {"weighting": ["uniform", "depth"]}}
    before, after = plan_of(entry, seeds=8), plan_of(entry, seeds=16)
    assert set(before.asked()) < set(after.asked())
    assert {block for _, block in set(after.asked()) - set(before.asked())} == {"0008-0015"}
    assert len(after.asked()) == 2 * len(before.asked()) == 4


def two_studies(raw, first, second, **parts):
    raw["studies"] = {"one": {"seeds": 4, "cells": [first]}, "two": {"seeds": 4, "cells": [second]} | parts}
    return study.plan(config.load(raw | {"study": ["one", "two"]}, "nowhere"))


def test_a_cell_in_two_studies_runs_once(raw):
    plan = two_studies(raw, DLG | {"labels": "joint"}, DLG | {"axes": {"labels": ["joint", "oracle"]}})
    first, second = (set(s.cells) for s in plan.studies)
    assert len(first & second) == 1
    assert len(plan.asked()) == 2


def test_each_study_lists_the_blocks_of_its_own_seeds(raw):
    entry = DLG | {"labels": "joint"}
    plan = two_studies(raw, entry, entry, seeds=6, block_size=3)
    (cell,) = plan.cells
    assert [s.cells[cell] for s in plan.studies] == [("0000-0003",), ("0000-0002", "0003-0005")]


def test_an_entry_written_twice_in_a_study_is_one_cell(plan_of):
    assert len(plan_of(DLG | {"labels": "joint"}, DLG | {"labels": "joint"}).asked()) == 1


@pytest.mark.parametrize("labels", ["joint", "recovered"])
def test_one_cell_with_two_numbers_of_draws_is_an_error(raw, labels):
    raw["targets"]["few"] = {"source": "simulate", "draws": 2}
    with pytest.raises(ConfigError, match=r"draws 8 and with draws 2; they must agree"):
        two_studies(raw, DLG | {"labels": labels}, DLG | {"labels": labels, "target": "few"})


def test_one_update_with_and_without_truth_is_an_error(raw, tmp_path):
    (tmp_path / "delta.npz").write_bytes(b"x")
    raw["targets"]["blind"] = {"source": "local", "path": str(tmp_path)}
    raw["targets"]["seen"] = raw["targets"]["blind"] | {"truth": str(tmp_path / "delta.npz")}
    for second in (DLG, DLG | {"steps": 3}):
        with pytest.raises(ConfigError, match="truth"):
            two_studies(raw, DLG | {"target": "blind"}, second | {"target": "seen"})


def test_two_cells_of_one_id_are_an_error(plan_of, monkeypatch):
    monkeypatch.setattr(cells, "identify", lambda spec: "0" * 10)
    with pytest.raises(ConfigError, match="two different cells"):
        plan_of(DLG | {"axes": {"steps": [1, 2]}})


def test_recovered_labels_add_the_label_cell_on_the_same_blocks(plan_of):
    plan = plan_of(DLG | {"label_method": "aux_mean"}, seeds=12)
    (cell,) = ids(plan)
    helper = plan.label_cell(cell)
    assert plan.cells[helper].options.method == "aux_mean"
    assert plan.cells[helper].target == plan.cells[cell].target
    assert {b for c, b in plan.blocks if c == helper} == {b for c, b in plan.blocks if c == cell}
    # It is work, but no member of the study: neither asked for in tables nor shown.
    assert helper not in ids(plan)
    assert helper not in plan.described()


def test_the_added_label_cell_is_the_one_that_a_user_would_ask_for(plan_of):
    plan = plan_of(DLG, {"attack": "labels", "target": "demo", "method": "rank1"})
    assert len(plan.cells) == 2
    assert plan.label_cell(next(c for c in plan.cells if plan.cells[c].attack == "dlg")) in plan.cells


LABELS = {"attack": "labels", "target": "demo", "method": "posterior"}


def test_members_add_the_span_cell_on_the_same_target_and_blocks(plan_of):
    plan = plan_of(LABELS | {"members": {"starts": 16}, "target.batch_size": 4}, seeds=12)
    (cell,) = ids(plan)
    helper = plan.cells[cell].members
    assert (helper.attack, helper.options.starts) == ("span", 16)
    assert helper.target == plan.cells[cell].target
    assert {b for c, b in plan.blocks if c == helper.id} == {b for c, b in plan.blocks if c == cell}
    assert plan.cells[cell].parameters["members"] == "span starts=16"


def test_the_added_span_cell_is_the_one_that_a_user_would_ask_for(plan_of):
    plan = plan_of(
        LABELS | {"members": {"starts": 128}}, {"attack": "span", "target": "demo"}, LABELS | {"members": {}}
    )
    assert len(plan.cells) == 2  # what is as by default renames nothing
    assert {c.attack for c in plan.cells.values()} == {"labels", "span"}


def test_members_of_a_dlg_cell_count_among_its_labels_too(plan_of):
    plan = plan_of(DLG | {"members": {"starts": 16}})
    (cell,) = ids(plan)
    labels = plan.cells[plan.label_cell(cell)]
    assert labels.members == plan.cells[cell].members
    assert plan.cells[cell].parameters["members"] == "span starts=16"
    plan = plan_of(DLG | {"members": {}, "labels": "oracle"})
    assert {c.attack for c in plan.cells.values()} == {"dlg", "span"}


def test_members_are_an_axis_and_name_the_prior_by_what_it_is(plan_of):
    plan = plan_of(LABELS | {"axes": {"members": [None, {}, {"prior": "vae"}]}})
    assert len(ids(plan)) == 3
    assert {plan.cells[c].parameters["members"] for c in ids(plan)} == {"none", "span", "span prior=vae"}
    assert plan_of(LABELS).cells.keys() < plan.cells.keys()
    other = plan_of(LABELS | {"members": {"prior": "other"}}, priors={"other": {}})
    assert ids(other) < ids(plan)


@pytest.mark.parametrize("labels", ["joint", "oracle"])
def test_other_label_strategies_add_nothing(plan_of, labels):
    plan = plan_of(DLG | {"labels": labels})
    assert len(plan.cells) == 1
    assert plan.label_cell(only_cell(plan).id) is None
