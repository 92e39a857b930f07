"""Ids of cells: what changes them, and what does not."""

import json

import pytest

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.workflow import config, identity, study

DLG = {"attack": "dlg", "target": "demo"}


def only_cell(plan):
    return next(iter(plan.cells.values()))


def ids(plan):
    return {cell for cell, _ in plan.asked()}


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
    assert identity.identify(spec) == identity.identify({"a": [1, 2], "b": 1})
    assert len(identity.identify(spec)) == 10
    int(identity.identify(spec), 16)


def test_known_ids_stay():
    """A change here gives every existing result a new id: raise identity.SCHEMA on purpose only."""
    assert identity.identify({"cell": {"attack": "dlg", "steps": 9}}) == "69544d3392"


def test_spec_rebuilds_the_options(plan_of):
    cell = only_cell(plan_of(DLG | {"steps": 9, "target.batch_size": 4, "target.draws": 2}))
    assert type(cell.options)(**cell.spec) == cell.options
    assert json.loads(json.dumps(cell.spec)) == {"attack": "dlg", "steps": 9}
    rebuilt = config.ClientOptions(**cell.target.spec)
    assert rebuilt.batch_size == 4
    assert "draws" not in cell.target.spec
