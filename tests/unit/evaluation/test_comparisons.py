"""Headline and effects: the best fair cell, its control, and differences that are paired where they can be."""

import re

import numpy as np
import pandas as pd
import pytest
from results import image_scores, label_scores

from gradleak.evaluation import comparisons, tables


def scores(level):
    return lambda seed: image_scores(seed) | {"psnr": level + seed}


@pytest.fixture
def study(results):
    """uniform and depth on the same four updates, a control, an oracle, another size, labels."""
    results.cell("a").cell("b", weighting="depth").cell("c", control="random_gradient").cell(
        "o", labels="oracle"
    )
    results.cell("big", **{"target.batch_size": 8})
    for name, level in {"a": 20, "b": 23, "c": 6, "o": 50, "big": 12}.items():
        results.block(name, (0, 1, 2, 3), scores(level))
    for method, level in {"uniform": 0.3, "rank1": 0.9}.items():
        results.cell(method, "labels", method=method)
        results.block(method, (0, 1), lambda seed, level=level: label_scores(seed) | {"irec": level})
    return results


def test_the_headline_is_the_best_fair_cell_of_each_attack_and_size(study):
    rows = study.frames()["headline"].set_index(["attack", "batch_size"])
    assert rows["cell"].to_dict() == {("dlg", 4): "b", ("dlg", 8): "big", ("labels", 4): "rank1"}
    assert rows.loc[("dlg", 4), "psnr"] == 24.5
    assert rows["verdict"].to_dict() == {("dlg", 4): "above", ("dlg", 8): "above", ("labels", 4): "above"}
    assert rows.loc[("labels", 4), "control"] == "labels, uniform"
    assert (
        rows.loc[("dlg", 4), "control_value"] == 11
    )  # the nearest public image is above the random gradient's 7.5


def test_a_cell_is_told_from_its_control_only_by_its_interval(results):
    results.cell("a").block("a", (0, 1, 2, 3), scores(9.0))  # 9 to 12, the nearest public image at 11
    (row,) = results.frames()["headline"].itertuples()
    assert row.verdict == "not told apart"


def test_effects_are_paired_by_draw_on_the_same_updates(study):
    table = study.frames()["effects"]
    row = table[(table["axis"] == "weighting") & (table["metric"] == "psnr")].iloc[0]
    assert (row["base"], row["value"], row["base_cell"], row["cell"]) == ("uniform", "depth", "a", "b")
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (3, 3, 3), (
        "the same on every draw"
    )
    assert row["paired"]
    assert row["draws"] == 4


def test_effects_between_different_updates_are_not_paired(study):
    table = study.frames()["effects"]
    row = table[(table["axis"] == "batch_size") & (table["metric"] == "psnr")].iloc[0]
    assert not row["paired"]
    assert row["difference"] == -8
    assert row["difference_low"] < -8 < row["difference_high"]


def test_only_cells_that_agree_in_all_else_are_compared(study):
    study.cell("both", weighting="depth", control="random_gradient").block("both", (0, 1, 2, 3), scores(5))
    table = study.frames()["effects"].query("metric == 'psnr'")
    pairs = {frozenset(pair) for pair in zip(table["base_cell"], table["cell"], strict=True)}
    assert frozenset({"a", "both"}) not in pairs
    assert {frozenset({"b", "both"}), frozenset({"c", "both"})} <= pairs


def test_a_paired_interval_is_narrower_where_draws_differ_more_than_cells(rng):
    level = rng.normal(20, 5, 12)
    index = pd.MultiIndex.from_product([["a", "b"], range(12)], names=["cell", "draw"])
    means = {"psnr": pd.Series(np.concatenate([level, level + 1 + rng.normal(0, 0.1, 12)]), index)}
    widths = {}
    for paired in (True, False):
        (row,) = comparisons._pair(means, "a", "b", {}, paired)
        assert row["difference"] == pytest.approx(1, abs=0.2)
        widths[paired] = row["difference_high"] - row["difference_low"]
    assert widths[True] < widths[False] / 5


def test_nothing_to_compare_is_empty_tables_with_their_columns(results):
    results.cell("a").block("a", (0,), image_scores, {0: "diverged"}, "no finite objective")
    frames = results.frames()
    assert not len(frames["headline"])
    assert not len(frames["effects"])
    assert {"difference", "paired"} <= set(frames["effects"].columns)


def test_latex_has_every_row_escaped(study):
    study.cell("x", attack="dlg_&_co", **{"target.batch_size": 16}).block("x", (0, 1), scores(30))
    text = comparisons.latex(study.frames()["headline"])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 4
    assert all(len(re.split(r"(?<!\\)&", row)) == 8 for row in rows)
    assert r"dlg\_\&\_co" in text
    assert re.search(r"24\.5 \(2\d\.\d--2\d\.\d\)", text)


def test_a_cell_in_words_names_what_is_not_the_usual():
    cell = {
        "attack": "dlg",
        "batch_size": 8,
        "weighting": "uniform",
        "labels": "recovered",
        "control": "none",
    }
    assert comparisons.words(cell | {"param.init": "uniform"}) == "dlg, N=8, recovered labels"
    assert comparisons.words(cell | {"param.init": "features"}) == "dlg, N=8, recovered labels, features init"
    assert (
        comparisons.words(cell | {"param.init": np.nan, "weighting": "depth"}, skip=("batch_size",))
        == "dlg, depth, recovered labels"
    )


def test_cells_of_the_same_words_are_named_by_what_sets_them_apart():
    cells = pd.DataFrame(
        {
            "attack": "span",
            "batch_size": [32, 32, 32, 64],
            "param.target.width": [np.nan, 512, np.nan, np.nan],
            "param.joint_rounds": [0, 0, 16, 0],
            "param.target.clients": 1,
        }
    )
    assert comparisons.named(cells).tolist() == [
        "span, N=32",
        "span, N=32, width 512",
        "span, N=32, joint rounds 16",
        "span, N=64",
    ]
    assert comparisons.named(cells, skip=("batch_size",)).tolist() == [
        "span",
        "span, width 512",
        "span, joint rounds 16",
        "span",
    ]


def test_cells_lie_along_an_axis_that_differ_in_nothing_else():
    cells = pd.DataFrame(
        {
            "attack": ["span"] * 5 + ["dlg"],
            "batch_size": [64, 32, 32, 32, 64, 32],
            "param.target.width": [np.nan, np.nan, 512, 64, 64, np.nan],
            "param.target.batch_size": 1,
        }
    )
    (wide,) = (
        own for own in comparisons.along(cells, "param.target.width") if (own["batch_size"] == 32).all()
    )
    assert wide.index.tolist() == [1, 3, 2]  # what is not set first
    assert [own.index.tolist() for own in comparisons.along(cells, "batch_size")] == [[1, 0], [3, 4]]


def test_a_setting_that_others_leave_alone_has_an_effect(results):
    for name, width in {"a": None, "wide": 512}.items():
        results.cell(name, **{"target.width": width}).block(name, (0, 1), scores(width or 0))
    effects = results.frames()["effects"].query("axis == 'target.width' and metric == 'psnr'")
    assert effects[["value", "difference"]].to_numpy().tolist() == [[512, 512]]
    assert effects["base"].isna().all()


def test_a_headline_without_a_setting_is_read_back_so(tmp_path):
    cells = pd.DataFrame(
        [{"study": "s", "attack": "span", "setting": "", "verdict": "above", "batch_size": 1}]
    )
    cells.to_csv(tmp_path / "headline.csv", index=False)
    assert tables.read(tmp_path / "headline.csv")["setting"].tolist() == [""]
