"""From config to plan: points, ids, blocks, draws, and what one cell asks of another."""

import csv
import io
import json

import pytest

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.workflow import config, study
from gradleak.workflow.config import ConfigError
from gradleak.workflow.study import blocks_of, expand

DLG = {"attack": "dlg", "target": "demo"}


def points(**entry):
    return list(expand(entry, "here"))


def only_cell(plan):
    return next(iter(plan.cells.values()))


def ids(plan):
    return {cell for cell, _ in plan.asked()}


# --- points of an entry ---------------------------------------------------------------------------------------------


def test_product_crosses_all_axes():
    found = points(steps=3, axes={"a": [1, 2], "b": ["x", "y", "z"]})
    assert len(found) == 6
    assert {"steps": 3, "a": 2, "b": "y"} in found


def test_zip_walks_the_axes_together():
    assert points(combine="zip", axes={"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_one_at_a_time_varies_each_axis_around_the_first_values():
    found = points(combine="one_at_a_time", axes={"a": [1, 2, 3], "b": ["x", "y"]})
    assert found == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 3, "b": "x"}, {"a": 1, "b": "y"}]


@pytest.mark.parametrize("combine", ["product", "zip", "one_at_a_time"])
def test_without_axes_an_entry_is_one_point(combine):
    assert points(steps=3, combine=combine) == [{"steps": 3}]


def test_exclude_leaves_out_what_matches_in_all_its_keys():
    axes = {"a": [1, 2], "b": ["x", "y"]}
    found = points(axes=axes, exclude=[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    assert found == [{"a": 1, "b": "y"}, {"a": 2, "b": "x"}]


def test_exclude_may_name_a_fixed_parameter():
    assert points(c=5, axes={"a": [1, 2]}, exclude=[{"c": 5, "a": 1}]) == [{"c": 5, "a": 2}]


def test_the_entry_overrides_the_base_and_axes_override_both(plan_of):
    plan = plan_of(DLG | {"steps": 7, "axes": {"tv": [0.5]}}, base={"steps": 3, "tv": 0.1, "loss": "l2"})
    options = only_cell(plan).options
    assert (options.steps, options.tv, options.loss) == (7, 0.5, "l2")


# --- ids -----------------------------------------------------------------------------------------------------------


def test_ids_do_not_depend_on_the_order_of_keys(plan_of):
    entry = DLG | {
        "steps": 9,
        "target.batch_size": 4,
        "target.alpha": 1.0,
        "axes": {"tv": [0.1], "loss": ["l2"]},
    }
    backwards = {key: entry[key] for key in reversed(entry)} | {"axes": {"loss": ["l2"], "tv": [0.1]}}
    assert ids(plan_of(entry)) == ids(plan_of(backwards))


def test_an_option_at_its_default_renames_nothing(plan_of):

    defaults = DlgOptions().model_dump() | {"clip_norm": None}
    spelled = (
        DLG | {"steps": 9} | {key: value for key, value in defaults.items() if key not in ("steps", "attack")}
    )
    target = {"full": config.ClientOptions().model_dump()}
    assert ids(plan_of(DLG | {"steps": 9})) == ids(plan_of(spelled | {"target": "full"}, targets=target))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 8},
        {"tv": 0.5},
        {"labels": "joint"},
        {"target.batch_size": 4},
        {"target.model_seed": 1},
        {"control": "random_gradient"},
    ],
)
def test_what_changes_the_work_changes_the_id(plan_of, change):
    assert ids(plan_of(DLG)).isdisjoint(ids(plan_of(DLG | change)))


def test_equal_values_of_other_types_are_the_same_cell(plan_of):
    assert ids(plan_of(DLG | {"tv": 1, "target.pretrain_epochs": 1})) == ids(
        plan_of(DLG | {"tv": 1.0, "target.pretrain_epochs": 1.0})
    )


def test_names_are_no_part_of_an_id(plan_of):
    again = {"again": {"source": "simulate"}}
    assert ids(plan_of(DLG)) == ids(plan_of(DLG | {"target": "again"}, targets=again))
    latent = {"attack": "latent", "target": "demo", "prior": "vae"}
    other = {"other": {}}
    assert ids(plan_of(latent)) == ids(plan_of(latent | {"prior": "other"}, priors=other))


def test_what_a_prior_is_goes_into_the_id(plan_of):
    latent = {"attack": "latent", "target": "demo", "prior": "vae"}
    changed = plan_of(latent, priors={"vae": {"latent_dim": 3}})
    assert ids(plan_of(latent)).isdisjoint(ids(changed))


def test_seeds_blocks_and_draws_are_no_part_of_an_id(plan_of):
    plain = ids(plan_of(DLG))
    assert plain == ids(plan_of(DLG, seeds=[5, 9], block_size=2))
    assert plain == ids(plan_of(DLG, targets={"demo": {"source": "simulate", "draws": 3}}))


def test_truth_is_no_part_of_an_id(raw, tmp_path):
    (tmp_path / "delta.npz").write_bytes(b"x")
    raw["studies"]["demo"]["cells"] = [DLG | {"target": "mine"}]
    raw["targets"]["mine"] = {"source": "local", "path": str(tmp_path)}
    without = ids(study.plan(config.load(raw, tmp_path)))
    raw["targets"]["mine"]["truth"] = str(tmp_path / "delta.npz")
    assert without == ids(study.plan(config.load(raw, tmp_path)))


def test_an_id_is_ten_hex_digits_and_stands_for_its_spec():
    spec = {"b": 1, "a": [1, 2]}
    assert study.identify(spec) == study.identify({"a": [1, 2], "b": 1})
    assert len(study.identify(spec)) == 10
    int(study.identify(spec), 16)


def test_known_ids_stay():
    """A change here renames every result that people have: raise study.SCHEMA on purpose, never by accident."""
    assert study.identify({"cell": {"attack": "dlg", "steps": 9}}) == "69544d3392"


def test_spec_rebuilds_the_options(plan_of):
    cell = only_cell(plan_of(DLG | {"steps": 9, "target.batch_size": 4, "target.draws": 2}))
    assert type(cell.options)(**cell.spec) == cell.options
    assert json.loads(json.dumps(cell.spec)) == {"attack": "dlg", "steps": 9}
    rebuilt = config.ClientOptions(**cell.target.spec)
    assert rebuilt.batch_size == 4
    assert "draws" not in cell.target.spec


# --- blocks, seeds, draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seeds", "size", "expected"),
    [
        (3, 8, [[0, 1, 2]]),
        (8, 8, [list(range(8))]),
        (9, 8, [list(range(8)), [8]]),
        (4, 2, [[0, 1], [2, 3]]),
        (2, 1, [[0], [1]]),
        ([6, 7, 8, 9], 8, [[6, 7], [8, 9]]),
        ([3, 1], 8, [[1], [3]]),
        ([9, 8], 4, [[8, 9]]),
    ],
)
def test_blocks_are_fixed_runs_of_consecutive_seeds(seeds, size, expected):
    assert blocks_of(seeds, size, "here") == expected


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_adding_a_block_of_seeds_keeps_all_earlier_blocks(size):
    earlier, later = blocks_of(3 * size, size, ""), blocks_of(4 * size, size, "")
    assert later[:-1] == earlier
    assert later[-1] == list(range(3 * size, 4 * size))


@pytest.mark.parametrize("seeds", [[0], [4, 5, 6], [9999, 10000]])
def test_a_block_name_gives_its_seeds_back(seeds):
    assert study.seeds_of_block(study.block_name(seeds)) == seeds


def test_adding_seeds_asks_for_new_blocks_only(plan_of):
    entry = DLG | {"axes": {"weighting": ["uniform", "depth"]}}
    before, after = plan_of(entry, seeds=8), plan_of(entry, seeds=16)
    assert set(before.asked()) < set(after.asked())
    assert {block for _, block in set(after.asked()) - set(before.asked())} == {"0008-0015"}
    assert len(after.asked()) == 2 * len(before.asked()) == 4


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


# --- cells across studies -----------------------------------------------------------------------------------------


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
    with pytest.raises(ConfigError, match=r"draws 8 and with draws 2; draws must agree"):
        two_studies(raw, DLG | {"labels": labels}, DLG | {"labels": labels, "target": "few"})


def test_one_update_with_and_without_truth_is_an_error(raw, tmp_path):
    (tmp_path / "delta.npz").write_bytes(b"x")
    raw["targets"]["blind"] = {"source": "local", "path": str(tmp_path)}
    raw["targets"]["seen"] = raw["targets"]["blind"] | {"truth": str(tmp_path / "delta.npz")}
    for second in (DLG, DLG | {"steps": 3}):
        with pytest.raises(ConfigError, match="truth"):
            two_studies(raw, DLG | {"target": "blind"}, second | {"target": "seen"})


def test_two_cells_of_one_id_are_an_error(plan_of, monkeypatch):
    monkeypatch.setattr(study, "identify", lambda spec: "0" * 10)
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


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": 3}, r"cells\[0\].members.start: unknown key; did you mean 'starts'"),
        ({"starts": 0}, r"cells\[0\].members.starts: .* greater than or equal to 2"),
        ({"attack": "dlg"}, r"members.attack: .* leave it out"),
        ({"target.batch_size": 3}, r"members.target.batch_size: .* leave it out"),
        ("span", r"cells\[0\].members: "),
    ],
)
def test_members_that_cannot_be_found_are_errors_with_their_place(plan_of, asked, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(LABELS | {"members": asked})


@pytest.mark.parametrize("labels", ["joint", "oracle"])
def test_other_label_strategies_add_nothing(plan_of, labels):
    plan = plan_of(DLG | {"labels": labels})
    assert len(plan.cells) == 1
    assert plan.label_cell(only_cell(plan).id) is None


# --- what the workflow and people read --------------------------------------------------------------------------


def test_cells_csv_has_a_row_a_cell_and_only_columns_that_tell(plan_of):
    plan = plan_of(DLG | {"axes": {"target.batch_size": [1, 8], "weighting": ["uniform", "depth"]}})
    rows = list(csv.DictReader(io.StringIO(plan.cells_csv())))
    assert {row["cell"] for row in rows} == ids(plan)
    assert set(rows[0]) == {"cell", "attack", "target", "target.batch_size", "weighting"}
    assert {(row["target.batch_size"], row["weighting"]) for row in rows} == {
        ("1", "uniform"),
        ("8", "uniform"),
        ("1", "depth"),
        ("8", "depth"),
    }


def test_parameters_hold_defaults_too(plan_of):
    parameters = only_cell(plan_of(DLG | {"steps": 9})).parameters
    assert parameters["steps"] == 9
    assert parameters["loss"] == "cosine"
    assert parameters["target.batch_size"] == 32
    assert "target.draws" not in parameters


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            [{"attack": "labels", "target": "demo"}],
            {"label_recovery", "label_counts", "label_skill", "label_table", "effects"},
        ),
        (
            [{"attack": "labels", "target": "demo", "method": "posterior"}],
            {
                "label_recovery",
                "label_counts",
                "label_skill",
                "label_table",
                "effects",
                "label_coverage",
                "label_intervals",
            },
        ),
        (
            [DLG],
            {
                "reconstructions",
                "recovery",
                "psnr_by_batch_size",
                "effects",
                "seeds",
                "weighting",
                "loss_curves",
            },
        ),
        (
            [{"attack": "latent", "target": "demo"}],
            {"reconstructions", "recovery", "psnr_by_batch_size", "effects", "seeds", "loss_curves"},
        ),
    ],
)
def test_figures_are_those_with_something_to_show(plan_of, cells, expected):
    assert set(plan_of(*cells).figures()) == expected


def test_wildcards_of_an_attack_without_cells_match_nothing(plan_of):
    plan = plan_of(DLG)
    assert plan.cell_ids("latent") == "none"
    assert set(plan.cell_ids("dlg").split("|")) == ids(plan)


def test_pictures_come_from_the_first_block_of_image_cells(plan_of):
    plan = plan_of(DLG, {"attack": "labels", "target": "demo"}, seeds=12)
    assert [block for _, block in plan.shown()] == ["0000-0007"]
