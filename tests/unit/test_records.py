"""What a record keeps of a trial."""

import json
import math

import numpy as np
import pytest

from gradleak import records


@pytest.mark.parametrize("length", [0, 1, 5, 10, 11, 1000])
@pytest.mark.parametrize("least", [0, 0.4, 1])
def test_a_thinned_curve_keeps_first_last_and_least_within_the_bound(length, least):
    steps = np.arange(length) * 3
    values = 10 + np.sin(np.arange(length) / 7)
    where = round(least * (length - 1)) if length else None
    if length:
        values[where] = -1
    found = records.thin(steps, values, points=10)
    assert len(found["step"]) == len(found["objective"]) <= 10
    assert found["step"] == sorted(set(found["step"]))
    if length:
        assert {0, int(steps[-1]), int(steps[where])} <= set(found["step"])
        assert min(found["objective"]) == -1
        assert found["objective"][0] == pytest.approx(values[0], rel=1e-5)


def test_short_curves_are_kept_whole():
    found = records.thin(np.array([0, 5, 9]), np.array([3.0, 2.0, 2.5]))
    assert found == {"step": [0, 5, 9], "objective": [3.0, 2.0, 2.5]}


def test_points_without_a_value_are_left_out():
    found = records.thin(np.arange(5), np.array([np.nan, 2.0, np.inf, 1.0, np.nan]))
    assert found == {"step": [1, 3], "objective": [2.0, 1.0]}
    assert records.thin(np.arange(3), np.full(3, np.nan)) == {"step": [], "objective": []}


@pytest.mark.parametrize("objective", [None, math.nan, math.inf, np.float32(np.inf)])
def test_a_trial_without_a_finite_objective_is_valid_json(objective):
    row = records.trial(np.int64(3), np.int32(1), "diverged", "no finite objective", objective)
    assert json.loads(json.dumps(row, allow_nan=False)) == {
        "seed": 3,
        "draw": 1,
        "status": "diverged",
        "reason": "no finite objective",
        "objective": None,
        "history": {},
    }


def test_a_trial_is_ok_unless_said_otherwise():
    row = records.trial(0, 0, objective=np.float64(0.5))
    assert (row["status"], row["reason"], row["objective"]) == ("ok", "", 0.5)


def test_digests_depend_on_content_and_not_on_the_order_of_keys():
    assert records.digest({"a": 1, "b": [2]}) == records.digest({"b": [2], "a": 1})
    different = [
        records.digest(*parts) for parts in [(1, 2), (2, 1), (12,), ("1", 2), ({"a": 1},), ({"a": 2},)]
    ]
    assert len(set(different)) == len(different)


def test_the_environment_names_what_results_depend_on():
    assert {"python", "tensorflow", "keras", "numpy"} <= set(records.environment())
    assert records.peak_mb() > 1


def test_a_job_knows_its_number_on_the_cluster(monkeypatch):
    for name in records.JOB_IDS:
        monkeypatch.delenv(name, raising=False)
    assert records.job_id() == ""
    monkeypatch.setenv("PBS_JOBID", "7.head")
    assert records.job_id() == "7.head"
