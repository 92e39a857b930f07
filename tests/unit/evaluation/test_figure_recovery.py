"""Recovery against the settings of the update: what is drawn where, and which cells are compared."""

import numpy as np
import pandas as pd
from results import image_scores
from studies import drawn, whole

from gradleak.evaluation.figures import recovery


def test_psnr_is_drawn_at_its_value_and_size(results):
    whole(results)
    figure = drawn("psnr_by_batch_size", results)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "4"]
    heights = [y for line in axis.lines for y in np.atleast_1d(line.get_ydata())]
    assert 20.5 in heights


def test_lines_join_cells_that_differ_in_nothing_but_the_size(results):
    for name, changed in {"a": {}, "b": {"target.batch_size": 8}, "c": {"target.clients": 2}}.items():
        results.cell(name, "span", **{"target.clients": 1} | changed).block(name, scores=image_scores)
    (axis,) = drawn("psnr_by_batch_size", results).axes
    (line,) = (
        handle
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        if label.startswith("span")
    )
    assert len(line.lines[0].get_xdata()) == 2


def test_the_share_of_images_is_drawn_against_every_setting_of_the_update(results):
    for name, changed in {"a": {}, "b": {"target.batch_size": 8}, "c": {"target.clients": 2}}.items():
        results.cell(name, "span", **{"target.clients": 1} | changed).block(name, scores=image_scores)
    panels = {axis.get_xlabel(): axis for axis in drawn("recovery", results).axes if axis.get_xlabel()}
    assert {name: [tick.get_text() for tick in axis.get_xticklabels()] for name, axis in panels.items()} == {
        "images in the update, N": ["4", "8"],
        "clients": ["1", "2"],
    }
    assert all(0.75 in axis.lines[0].get_ydata() for axis in panels.values())


def test_cells_lie_along_an_axis_that_differ_in_nothing_else():
    cells = pd.DataFrame(
        {
            "attack": ["span"] * 5 + ["dlg"],
            "batch_size": [64, 32, 32, 32, 64, 32],
            "param.target.width": [np.nan, np.nan, 512, 64, 64, np.nan],
            "param.target.batch_size": 1,
        }
    )
    (wide,) = (own for own in recovery.along(cells, "param.target.width") if (own["batch_size"] == 32).all())
    assert wide.index.tolist() == [1, 3, 2]  # what is not set first
    assert [own.index.tolist() for own in recovery.along(cells, "batch_size")] == [[1, 0], [3, 4]]


def test_weightings_are_compared_under_the_same_conditions_only():
    cells = pd.DataFrame(
        {
            "target": "t",
            "batch_size": [1, 1, 1, 8, 8],
            "labels": ["joint", "recovered", "recovered", "recovered", "recovered"],
            "weighting": ["uniform", "uniform", "depth", "uniform", "depth"],
            "param.target.batch_size": [1, 1, 1, 8, 8],
            "param.prior": pd.Series([None] * 5, dtype="str"),
        }
    )
    kept = recovery._comparable(cells, "weighting")
    assert kept.index.tolist() == [1, 2, 3, 4], (
        "a strategy that only one weighting was run with would bias its bar"
    )
