"""The points of an entry: axes combined, less what is excluded."""

import pytest

from gradleak.workflow.grid import expand


def points(**entry):
    return list(expand(entry, "here"))


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
