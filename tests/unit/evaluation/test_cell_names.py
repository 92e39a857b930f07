"""Which settings vary, and what a cell is called."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from gradleak.evaluation import cell_names, tables


def test_a_cell_in_words_names_what_is_not_the_usual():
    cell = {
        "attack": "dlg",
        "batch_size": 8,
        "weighting": "uniform",
        "labels": "recovered",
        "control": "none",
    }
    assert cell_names.words(cell | {"param.init": "uniform"}) == "dlg, N=8, recovered labels"
    assert cell_names.words(cell | {"param.init": "features"}) == "dlg, N=8, recovered labels, features init"
    assert (
        cell_names.words(cell | {"param.init": np.nan, "weighting": "depth"}, skip=("batch_size",))
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
    assert tables.names(cells).tolist() == [
        "span, N=32",
        "span, N=32, width 512",
        "span, N=32, joint rounds 16",
        "span, N=64",
    ]
    assert tables.names(cells, skip=("batch_size",)).tolist() == [
        "span",
        "span, width 512",
        "span, joint rounds 16",
        "span",
    ]


def test_short_names_have_what_is_unusual_among_the_cells_of_the_attack():
    usual = {
        "attack": "dlg",
        "batch_size": 8,
        "weighting": "uniform",
        "labels": "recovered",
        "param.steps": 400,
    }
    cells = [
        usual,
        usual | {"weighting": "depth"},
        usual | {"batch_size": 1, "labels": "oracle"},
        usual | {"param.steps": 9, "param.target.local_epochs": 5},
        {"attack": "labels", "method": "rank1", "batch_size": 8},
        {"attack": "labels", "method": "idlg", "batch_size": 8},
        {"attack": "span", "batch_size": 8},
    ]
    cells = [{name: cell.get(name) for name in dict.fromkeys(k for c in cells for k in c)} for cell in cells]
    assert cell_names.short_names(cells, 40) == [
        "dlg, N=8",
        "dlg, N=8, depth",
        "dlg, N=1, oracle labels",
        "dlg, N=8, local epochs 5",
        "labels, rank1",
        "labels, idlg",
        "span",
    ]


@pytest.mark.parametrize("limit", [40, 24, 12])
def test_short_names_are_short_and_differ(limit):
    """Of a sweep over five settings. At forty characters every name still has all of them."""
    axes = {
        "batch_size": [1, 8, 32],
        "weighting": ["uniform", "depth"],
        "param.target.pretrain_epochs": [0, 1],
        "param.target.local_epochs": [1, 2, 5],
        "param.learning_rate": [0.05, 0.1],
    }
    cells = [{"attack": "dlg", **dict(zip(axes, p, strict=True))} for p in itertools.product(*axes.values())]
    names = cell_names.short_names(cells, limit)
    assert max(map(len, names)) <= limit
    assert len(set(names)) == len(cells) == 72
    assert any("(" in name for name in names) == (limit < 40)


def test_settings_come_in_a_fixed_order_and_the_batch_size_once():
    columns = ["cell", "psnr", "method", "target", "param.steps", "batch_size", "param.target.samples"]
    assert cell_names.settings(columns) == ["target", "batch_size", "method", "param.steps"]


def test_a_name_that_a_cell_lacks_does_not_vary_for_it():
    cells = [{"steps": 5, "seed": 1}, {"method": "rank1"}, {"steps": 6, "seed": 1.0}]
    assert cell_names.varying(cells) == ["steps"]


@pytest.mark.parametrize("unset", [None, math.nan, ""])
def test_a_value_that_is_not_set_is_a_value(unset):
    assert cell_names.varying([{"width": 512}, {"width": unset}]) == ["width"]
    assert cell_names.varying([{"width": None}, {"width": unset}]) == []


def test_lists_and_numpy_scalars_are_values_too():
    assert cell_names.varying([{"a": [1, 2]}, {"a": [1, 2]}]) == []
    assert cell_names.varying([{"a": [1, 2]}, {"a": [2, 1]}]) == ["a"]
    assert cell_names.varying([{"a": np.int64(3)}, {"a": 3.0}]) == []
    assert cell_names.varying([{"a": True}, {"a": 1}]) == ["a"]


def test_names_of_values_and_settings_are_for_people():
    assert cell_names.setting_name("param.target.local_epochs") == "local epochs"
    assert [cell_names.value_name(value) for value in (0.05, 4.0, "inverse_depth", "4.0", None, True)] == [
        *("0.05", "4", "inverse depth", "4", "default", "True")
    ]


def test_values_of_different_types_are_compared():
    cells = [{"attack": "dlg", "param.tv": value} for value in ("auto", 0.1, 0.2)]
    assert cell_names.names(cells) == ["dlg, tv auto", "dlg", "dlg, tv 0.2"]
