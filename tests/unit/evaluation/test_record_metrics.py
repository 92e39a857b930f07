"""Metrics of records by brute force on small tables, through their decoded values."""

import numpy as np
import pytest

from gradleak.datasets import table
from gradleak.evaluation import record_metrics


@pytest.fixture
def people(rng):
    """(frame, fields, vectors) of 60 records with fields of each kind, one of them of one value."""
    frame = {
        "age": rng.integers(17, 90, 60),
        "work": rng.choice(["none", "private", "state"], 60, p=[0.2, 0.5, 0.3]),
        "pay": rng.uniform(-5, 100, 60),
        "member": rng.uniform(size=60) < 0.3,
        "year": np.full(60, 1994),
        "factor": np.full(60, 1.5),
    }
    fields = table.fit(frame, "people")
    return frame, fields, table.encode(frame, fields)


def is_right(field, found, true):
    """By the decoded values of one field."""
    if field.kind == table.NUMBER:
        return abs(found - true) <= record_metrics.TOLERANCE * (field.high - field.low)
    return found == true


@pytest.mark.parametrize("noise", [0, 0.01, 0.3, 2])
def test_fields_are_right_as_their_decoded_values_are(people, rng, noise):
    _, fields, truth = people
    found = (truth + rng.normal(0, noise, truth.shape)).astype(np.float32)
    expected = [
        [is_right(field, one[field.name], other[field.name]) for field in fields]
        for one, other in zip(table.decode(found, fields), table.decode(truth, fields), strict=True)
    ]
    right = record_metrics.right_fields(found[:, None, :, None], truth, fields)
    np.testing.assert_array_equal(right, expected)
    assert (noise > 0) or right.all()
    assert right[:, -2:].all(), "a column of one value"
    if noise == 2:
        assert not right[:, :4].all(axis=0).any()


def test_an_integer_has_to_be_equal_and_a_number_to_be_near():
    fields = table.fit({"n": np.array([0, 1000]), "x": np.array([0.0, 1000.0])}, "t")
    truth = np.array([[0.5, 0.5]])
    for offset, expected in ((0, [True, True]), (0.002, [False, True]), (0.011, [False, False])):
        assert record_metrics.right_fields(truth + offset, truth, fields).tolist() == [expected]
    assert record_metrics.right_fields(truth - 0.0004, truth, fields).all()  # 499.6 rounds to 500


def test_a_record_without_an_estimate_has_no_right_field(people):
    _, fields, truth = people
    right = record_metrics.right_fields(truth[:3], truth[:3], fields)
    right[0, 1] = False  # of three records one category
    found = record_metrics.field_accuracy(right, fields, 4)
    assert found["field_accuracy"] == pytest.approx(17 / 24)
    assert found["category_accuracy"] == pytest.approx(5 / 8)
    numbers = [field for field in fields if field.kind != table.CATEGORY]
    assert set(record_metrics.field_accuracy(right[:, :4], numbers, 4)) == {"field_accuracy"}
    nothing = record_metrics.right_fields(truth[:0], truth[:0], fields)
    assert set(record_metrics.field_accuracy(nothing, fields, 4).values()) == {0}


def test_chance_guesses_the_most_frequent_category_and_the_median(people):
    frame, fields, vectors = people
    public, truth = vectors[:40], vectors[40:]
    typical = record_metrics.typical_record(public, fields)
    (guess,) = table.decode(typical, fields)
    assert abs(guess["pay"] - np.median(frame["pay"][:40])) < 1e-4
    assert abs(guess["age"] - np.median(frame["age"][:40])) <= 0.5
    for name in ("work", "member"):
        values, counts = np.unique(frame[name][:40].astype(str), return_counts=True)
        assert guess[name] == values[counts.argmax()]
    expected = np.mean(
        [
            [is_right(field, guess[field.name], one[field.name]) for field in fields]
            for one in table.decode(truth, fields)
        ]
    )
    assert record_metrics.chance(typical, truth, fields) == pytest.approx(expected)
    assert 0.3 < expected < 1


def test_records_are_written_out_in_their_units(people):
    frame, fields, vectors = people
    found = vectors[:10].copy()
    found[0, 0] = 1
    written = record_metrics.written_out(found, vectors[:10], fields)
    assert written["fields"] == list(frame)
    assert [len(written[part]) for part in ("found", "true", "right")] == [record_metrics.KEPT] * 3
    assert (written["found"][0][0], written["true"][0][0]) == (frame["age"].max(), frame["age"][0])
    assert [row.count(False) for row in written["right"]] == [1] + [0] * 7
    blind = record_metrics.written_out(found, vectors[:0], fields)
    assert (len(blind["found"]), blind["true"], blind["right"]) == (record_metrics.KEPT, [], [])
