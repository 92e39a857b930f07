"""Records become vectors in [0, 1], and the vectors the same records again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradleak.datasets import limits, table
from gradleak.datasets.errors import DataError

COLUMNS = st.sampled_from(
    [
        st.integers(-(2**20), 2**20),
        st.floats(-1e6, 1e6, width=32),
        st.sampled_from(["a", "b", "ü", "", "7"]),
        st.booleans(),
    ]
)


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 12))
    kinds = draw(st.lists(COLUMNS, min_size=1, max_size=5))
    return {
        f"c{index}": np.array(draw(st.lists(kind, min_size=rows, max_size=rows)))
        for index, kind in enumerate(kinds)
    }


@settings(deadline=None, max_examples=150)
@given(tables())
def test_a_record_comes_out_as_the_record(frame):
    fields = table.fit(frame, "t.csv")
    x = table.encode(frame, fields)
    assert x.dtype == np.float32
    assert x.shape[1] == fields[-1].columns[1]
    assert x.min() >= 0
    assert x.max() <= 1
    records = table.decode(x[:, None, :, None], fields)
    for field in fields:
        values = frame[field.name]
        for record, value in zip(records, values.tolist(), strict=True):
            if field.kind == table.CATEGORY:
                assert record[field.name] == str(value)
            elif field.kind == table.INTEGER:
                assert record[field.name] == value
            else:
                assert record[field.name] == pytest.approx(value, abs=2e-7 * (field.high - field.low))


def test_an_estimate_is_the_nearest_record():
    frame = {"age": np.array([20, 60]), "work": np.array(["state", "private"])}
    fields = table.fit(frame, "t.csv")
    assert fields[1].categories == ("private", "state")
    assert table.decode(np.array([[0.52, 0.2, 0.3], [1.4, 0.9, 0.1]], np.float32), fields) == [
        {"age": 41, "work": "state"},
        {"age": 60, "work": "private"},
    ]


def test_a_column_of_one_value_is_zero():
    frame = {"a": np.array([7, 7]), "b": np.array([1.5, 2.5])}
    fields = table.fit(frame, "t.csv")
    x = table.encode(frame, fields)
    np.testing.assert_array_equal(x[:, 0], 0)
    assert table.decode(x, fields)[0] == {"a": 7, "b": 1.5}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({}, "t.csv: has no column beside the label"),
        (
            {"id": np.arange(300).astype(str)},
            f"t.csv: column 'id' has 300 different values, more than the limit of {limits.MAX_CATEGORIES} "
            "for a category; leave it out, or give it as numbers",
        ),
        (
            {"a": np.array([-1.7e308, 1.7e308])},
            "t.csv: column 'a' reaches from -1.7e+308 to 1.7e+308; its numbers must be finite",
        ),
        (
            {f"c{i}": np.arange(250).astype(str) for i in range(20)},
            f"t.csv: a record becomes 5000 numbers, more than the limit of {limits.MAX_COLUMNS}; leave out "
            "columns with many categories",
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(frame, message):
    with pytest.raises(DataError) as caught:
        table.fit(frame, "t.csv")
    assert str(caught.value) == message
