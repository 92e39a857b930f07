"""What rules, tables and MLflow ask of the plan."""

import csv
import io
import re

import pytest

DLG = {"attack": "dlg", "target": "demo"}


def ids(plan):
    return {cell for cell, _ in plan.asked()}


def only_cell(plan):
    return next(iter(plan.cells.values()))


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
    assert all(re.fullmatch(plan.cell_ids("dlg"), id) for id in ids(plan))


def test_wildcards_tell_the_cells_of_many_attacks_apart_in_a_short_text(plan_of):
    axes = {"learning_rate": [round(0.001 * i, 3) for i in range(1, 121)]}
    plan = plan_of(
        {"attack": "dlg", "target": "demo", "axes": axes},
        {"attack": "latent", "target": "demo", "axes": axes},
    )
    for attack in ("dlg", "latent"):
        matched = {id for id in plan.cells if re.fullmatch(plan.cell_ids(attack), id)}
        assert matched == {id for id, cell in plan.cells.items() if cell.attack == attack}
        assert len(plan.cell_ids(attack)) < 120 * 5


def test_records_of_a_table_are_not_drawn(plan_of):
    images = DLG | {"target.dataset": "digits-8x8"}
    records = DLG | {"target.dataset": "wine", "target.model": "fcn3"}
    both, alone = plan_of(images, records), plan_of(records)
    assert sorted(both.pictured() + both.recorded()) == sorted(both.shown())
    assert [both.cells[cell].target.options.dataset for cell, _ in both.recorded()] == ["wine"]
    assert "reconstructions" in both.figures()
    assert not alone.pictured()
    assert "reconstructions" not in alone.figures()
    assert "loss_curves" in alone.figures()


def test_pictures_come_from_the_first_block_of_image_cells(plan_of):
    plan = plan_of(DLG, {"attack": "labels", "target": "demo"}, seeds=12)
    assert [block for _, block in plan.shown()] == ["0000-0007"]
