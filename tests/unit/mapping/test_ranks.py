"""The numerical rank of dense kernels and what it shows about the number of images."""

import pytest
from keras import layers
from mapped import simulated, small

from gradleak.mapping.ranks import Bound, is_refuted, lower_bound, read_once, verdict


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
    ("rank", "steps", "expected"),
    [(8, 1, True), (8, 2, False), (8, "many", False), (8, None, False), (4, 1, False), (30, 1, False)],
)
def test_a_rank_refutes_fewer_images_times_stated_steps_unless_it_is_full(rank, steps, expected):
    assert is_refuted(Bound("dense/kernel", rank, 30), 4, steps) == expected
    assert not is_refuted(None, 4, steps)


ROWS = [{"variable": "dense/kernel", "shape": [64, 30], "ranks": [9], "least": [8], "full": 30}]


@pytest.mark.parametrize(
    ("optimizer", "is_perturbed", "once", "expected"),
    [
        ("sgd", False, {"dense/kernel"}, Bound("dense/kernel", 8, 30)),
        ("adam", False, {"dense/kernel"}, None),
        ("unknown", False, {"dense/kernel"}, None),
        ("sgd", True, {"dense/kernel"}, None),
        ("sgd", False, set(), None),
    ],
)
def test_ranks_prove_a_bound_only_for_sgd_without_perturbations(optimizer, is_perturbed, once, expected):
    assert lower_bound(ROWS, once, optimizer, is_perturbed) == expected


def test_several_unstated_steps_explain_a_rank_above_the_stated_number():
    said = verdict(Bound("dense/kernel", 8, 30), 4, None)
    assert "too few for one step" in said
    assert "refuted" not in said
    assert "prove nothing" in verdict(None, 4, 1)


def test_a_dense_layer_at_each_place_of_a_feature_map_bounds_no_images():
    model = small(layers.Dense(5), layers.Flatten(), layers.Dense(7))
    assert read_once(model) == {layer.kernel.path for layer in model.layers[2:] if layer.weights}


def test_the_rounding_of_many_local_steps_adds_no_images(digits, settle):
    # Thirty steps round the weights thirty times, so the rank of one image would be 300.
    *_, leaks = simulated(digits, range(1), batch_size=1, local_steps=30, learning_rate=0.001)
    found = settle(leaks).report["samples"]
    assert found["contradicts"] == []
    assert found["images_times_steps_at_least"] <= 30
