"""The numerical rank of dense kernels and what it shows about the number of images."""

import pytest
from mapped import simulated

from gradleak.mapping.ranks import is_refuted


@pytest.mark.parametrize(("samples", "scale"), [(1, 1.0), (8, 1.0), (8, 1000.0), (8, 1e-5), (20, 1.0)])
def test_the_rank_of_an_untrained_dense_layer_is_the_number_of_images(digits, settle, samples, scale):
    # Where the delta is scaled after the subtraction, its rounding noise is; a small rate makes that noise
    # matter.
    rate = 0.05 if scale == 1 else 0.005
    *_, leaks = simulated(digits, batch_size=samples, scale=scale, learning_rate=rate, alpha=None)
    rows = settle(leaks).report["ranks"]
    assert [row["full"] for row in rows] == [64, 300, 10]
    for row in rows:
        assert max(row["ranks"]) <= samples
    assert rows[1]["ranks"] == [samples] * len(leaks)


def test_a_rank_above_the_stated_number_refutes_it(digits, settle):
    *_, leaks = simulated(digits, learning_rate=1.0, alpha=None)
    assert "refuted" in settle(leaks, samples=2).report["verdict"]
    assert "fits the stated 8" in settle(leaks).report["verdict"]


@pytest.mark.parametrize(
    ("rank", "steps", "optimizer", "expected"),
    [
        (8, 1, "sgd", True),
        (8, 2, "sgd", False),
        (8, "many", "sgd", True),
        (4, 1, "sgd", False),
        (30, 1, "sgd", False),
        (8, 1, "adam", False),
    ],
)
def test_a_rank_refutes_fewer_images_times_steps_unless_it_is_full(rank, steps, optimizer, expected):
    ranks = [{"variable": "dense/kernel", "shape": [64, 30], "ranks": [rank], "full": 30}]
    assert is_refuted(ranks, 4, steps, optimizer) == expected
    assert not is_refuted([], 4, steps, optimizer)
