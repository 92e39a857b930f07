"""Headline and effects: the best fair cell, its control, and differences that are paired by draw."""

import numpy as np
import pandas as pd
import pytest
from results import image_scores, label_scores

from gradleak.evaluation import comparisons


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


def test_the_headline_is_the_best_cell_without_oracle_of_each_attack_and_size(study):
    rows = study.frames()["headline"].set_index(["attack", "batch_size"])
    assert rows["cell"].to_dict() == {("dlg", 4): "b", ("dlg", 8): "big", ("labels", 4): "rank1"}
    assert rows.loc[("dlg", 4), "psnr"] == 24.5
    assert rows["verdict"].to_dict() == {("dlg", 4): "above", ("dlg", 8): "above", ("labels", 4): "above"}
    assert rows.loc[("labels", 4), "control"] == "labels, uniform"
    assert (
        rows.loc[("dlg", 4), "control_value"] == 11
    )  # the nearest public image is above the random gradient's 7.5


def test_a_cell_is_distinguished_from_its_control_only_by_its_interval(results):
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
        (row,) = comparisons._differences(means, "a", "b", paired)
        assert row["difference"] == pytest.approx(1, abs=0.2)
        widths[paired] = row["difference_high"] - row["difference_low"]
    assert widths[True] < widths[False] / 5


def test_nothing_to_compare_is_empty_tables_with_their_columns(results):
    results.cell("a").block("a", (0,), image_scores, {0: "diverged"}, "no finite objective")
    frames = results.frames()
    assert not len(frames["headline"])
    assert not len(frames["effects"])
    assert {"difference", "paired"} <= set(frames["effects"].columns)


def test_a_setting_that_others_leave_alone_has_an_effect(results):
    for name, width in {"a": None, "wide": 512}.items():
        results.cell(name, **{"target.width": width}).block(name, (0, 1), scores(width or 0))
    effects = results.frames()["effects"].query("axis == 'target.width' and metric == 'psnr'")
    assert effects[["value", "difference"]].to_numpy().tolist() == [[512, 512]]
    assert effects["base"].isna().all()
