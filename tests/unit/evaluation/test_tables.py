"""Scores and records → tables: columns, rows of failed trials, studies that share a cell."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results import image_scores, label_scores

from gradleak.evaluation import tables

DOCUMENTED = [
    "study",
    "cell",
    "seed",
    "attack",
    "target",
    "batch_size",
    "weighting",
    "labels",
    "oracle",
    "status",
    "reason",
]


def test_every_column_of_trials_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "tables.md").read_text()
    rows = [line for line in page.split("\n## ")[1].splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(tables.TRIAL_COLUMNS) == named


def test_trials_begin_with_the_documented_columns_then_metrics_then_seconds(results):
    frame = results.cell("a").block("a", scores=image_scores).frames()["trials"]
    columns = list(frame.columns)
    assert columns[:11] == DOCUMENTED
    assert columns[11:13] == ["objective", "psnr"]
    assert columns.index("irec") < columns.index("seconds")
    row = frame.iloc[1]
    assert (row["study"], row["cell"], row["seed"], row["attack"], row["batch_size"]) == (
        "demo",
        "a",
        1,
        "dlg",
        4,
    )
    assert (row["status"], row["reason"], row["oracle"]) == ("ok", "", False)
    assert row["psnr"] == 21
    assert (row["seconds"], row["cpu_seconds"], row["host"], row["job"]) == (4, 5, "h", "17")
    assert (row["block"], row["draw"]) == ("0000-0001", 1)


@pytest.mark.parametrize("status", ["diverged", "not applicable", "failed"])
def test_a_failed_trial_is_a_row_with_its_reason(results, status):
    results.cell("a").block("a", (0, 1, 2), image_scores, {1: status}, 'because, "of" this')
    frames = results.frames()
    assert list(frames["trials"]["status"]) == ["ok", status, "ok"]
    assert frames["trials"]["reason"].tolist() == ["", 'because, "of" this', ""]
    assert np.isnan(frames["trials"]["psnr"][1])
    (cell,) = frames["cells"].itertuples()
    assert (cell.trials, cell.ok) == (3, 2)
    assert cell.reasons == 'because, "of" this'
    assert cell.psnr == 21  # of those that ended
    assert cell.cpu_hours == pytest.approx(3 * 5 / 3600, rel=1e-4)


def test_a_cell_whose_trials_all_failed_is_a_row_without_metrics(results):
    results.cell("a").block("a", (0, 1), image_scores, {0: "diverged", 1: "diverged"}, "no finite objective")
    (cell,) = results.frames()["cells"].itertuples()
    assert (cell.trials, cell.ok, cell.draws) == (2, 0, 2)
    assert np.isnan([cell.psnr, cell.psnr_low, cell.psnr_high]).all()


def test_a_cell_in_two_studies_is_in_both(results):
    results.cell("a").cell("b", weighting="depth").block("a", scores=image_scores).block(
        "b", scores=image_scores
    )
    frames = results.frames(one=["a"], two=["a", "b"])
    for name in ("trials", "cells"):
        table = frames[name]
        assert {(s, c) for s, c in zip(table["study"], table["cell"], strict=True)} == {
            ("one", "a"),
            ("two", "a"),
            ("two", "b"),
        }
    assert len(frames["trials"]) == 6


def test_a_study_shows_its_own_blocks_of_a_shared_cell(results):
    """Four seeds here, two there: no trial twice, and none that was not asked for."""
    results.cell("a").block("a", (0, 1), image_scores).block("a", (0, 1, 2, 3), image_scores)
    studies = {"few": {"a": ("0000-0001",)}, "many": {"a": ("0000-0003",)}}
    trials = tables.trials(results.cells, results.blocks, studies)
    assert trials.groupby("study")["seed"].apply(list).to_dict() == {"few": [0, 1], "many": [0, 1, 2, 3]}


def test_blocks_of_a_cell_come_together_in_the_order_of_seeds(results):
    results.cell("a").block("a", (2, 3), image_scores).block("a", (0, 1), image_scores)
    frames = results.frames()
    assert list(frames["trials"]["seed"]) == [0, 1, 2, 3]
    assert len(frames["cells"]) == 1


def test_means_and_intervals_are_over_draws(results):
    results.cell("a").block("a", (0, 1, 2), lambda seed: {"psnr": [10.0, 20.0, 30.0][seed]}, draws=2)
    (cell,) = results.frames()["cells"].itertuples()
    assert cell.psnr == pytest.approx((20 + 20) / 2)  # draw 0: seeds 0 and 2
    assert (cell.psnr_low, cell.psnr_high) == (20, 20)
    assert cell.draws == 2


def test_parameters_in_which_cells_differ_are_columns(results):
    results.cell("a", steps=5).cell("b", steps=6).cell("c", "labels", method="rank1")
    for name in results.cells:
        results.block(name, scores=image_scores)
    trials = results.frames()["trials"]
    assert "param.steps" in trials
    assert "param.target.dataset" not in trials
    images = trials[trials["attack"] == "dlg"]
    assert images.groupby("cell")["param.steps"].first().to_dict() == {"a": 5, "b": 6}
    assert trials[trials["cell"] == "c"]["param.steps"].isna().all()
    assert list(trials[trials["cell"] == "c"]["method"]) == ["rank1", "rank1"]


def test_oracle_rows_are_marked_in_every_table(results):
    results.cell("a", labels="oracle").cell("b").block("a", scores=image_scores).block(
        "b", scores=image_scores
    )
    frames = results.frames()
    for name in ("trials", "cells"):
        assert dict(zip(frames[name]["cell"], frames[name]["oracle"], strict=True)) == {"a": True, "b": False}


def test_the_size_of_a_foreign_batch_comes_from_its_truth(results):
    results.cell("a", **{"target.batch_size": None}).block("a", scores=image_scores, status={0: "diverged"})
    assert list(results.frames()["trials"]["batch_size"]) == [4, 4]


def test_a_foreign_batch_without_truth_has_no_size(results):
    results.cell("a", **{"target.batch_size": None}).block("a", scores=lambda seed: {"counts": [4] + [0] * 9})
    assert results.frames()["trials"]["batch_size"].isna().all()


def test_samples_say_more_than_the_batch_size(results):
    results.cell("a", **{"target.samples": 12}).block("a", scores=image_scores)
    assert list(results.frames()["cells"]["batch_size"]) == [12]


def test_labels_are_a_row_a_trial_and_class(results):
    results.cell("a", "labels", method="rank1").block(
        "a", (0, 1), label_scores, {1: "not applicable"}, "no bias"
    )
    labels = results.frames()["labels"]
    assert len(labels) == 10
    assert list(labels["true"][:3]) == [3, 1, 0]
    assert list(labels["recovered"][:3]) == [4, 0, 0]
    assert set(labels["method"]) == {"rank1"}
    assert list(labels["class"]) == list(range(10))


def test_labels_without_truth_keep_what_was_recovered(results):
    results.cell("a", "labels", method="rank1").block("a", (0,), lambda seed: {"counts": [4] + [0] * 9})
    labels = results.frames()["labels"]
    assert labels["true"].isna().all()
    assert labels["recovered"].sum() == 4


def test_tables_survive_csv(results):
    """Ids that look like numbers, words that look like missing ones."""
    results.cell("1234567890", weighting="uniform").cell("12345e6789", "labels", method="rank1")
    for name in results.cells:
        results.block(name, scores=image_scores)
    frames = results.frames()
    assert set(frames["trials"]["cell"]) == set(results.cells)
    assert set(frames["trials"]["weighting"]) == {"uniform", ""}
    assert set(frames["cells"]["control"]) == {"none"}
    assert set(frames["trials"]["reason"]) == {""}
    assert frames["trials"]["oracle"].dtype == bool
    direct = tables.trials(results.cells, results.blocks, results.studies())
    pd.testing.assert_frame_equal(frames["trials"], direct, check_dtype=False)


def test_records_and_scores_of_unlike_length_are_an_error(results, tmp_path):
    results.cell("a").block("a", scores=image_scores)
    (block,) = results.blocks
    with open(block["rows"], "w", encoding="utf-8") as handle:
        json.dump([{"seed": 0}], handle)
    with pytest.raises(ValueError, match="zip"):
        results.frames()


def test_a_headline_without_a_setting_is_read_back_so(tmp_path):
    cells = pd.DataFrame(
        [{"study": "s", "attack": "span", "setting": "", "verdict": "above", "batch_size": 1}]
    )
    cells.to_csv(tmp_path / "headline.csv", index=False)
    assert tables.read(tmp_path / "headline.csv")["setting"].tolist() == [""]


@pytest.mark.parametrize("name", ["nan", "NA", "null", "None", "-"])
def test_a_study_may_have_a_name_that_means_missing_elsewhere(name, tmp_path):
    cells = pd.DataFrame([{"study": name, "attack": "span", "psnr": np.nan}, {"study": name, "psnr": 20.0}])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    found = tables.read(tmp_path / "cells.csv")
    assert found["study"].tolist() == [name, name]
    assert found["attack"].tolist() == ["span", ""]
    assert np.isnan(found["psnr"][0])
