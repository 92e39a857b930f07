"""The loop on a block: the choice among starts, its data, its checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
from small_problems import CLASSES, SAMPLES, SHAPE, leaks_of

from gradleak.attacks.matching import dlg, latent, search
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.optim import minimise
from gradleak.optim.resources import Resources


def result_of(objective, points=5):
    objective = np.array(objective, np.float32)
    size = len(objective)
    return minimise.LoopResult(
        best={"codes": np.arange(size, dtype=np.float32)[:, None]},
        objective=objective,
        history_steps=np.arange(points),
        history=np.arange(size, dtype=np.float32)[:, None] * np.ones(points, np.float32),
        status=["ok" if np.isfinite(v) else "diverged" for v in objective],
        steps_taken=np.arange(size) + 100,
        seconds={"compute": 1.0},
    )


@pytest.mark.parametrize("points", [5, 6, 2])
@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ([3, 1, 2, 5, 4, 6], [1, 4]),
        ([np.nan, 1, 2, np.nan, np.nan, 6], [1, 5]),
        ([np.inf, np.nan, 2, -1, -np.inf, 0], [2, 4]),
        ([1, 1, 1, 0, 0, 0], [0, 3]),
    ],
)
def test_the_least_objective_chooses_among_starts(objective, expected, points):
    best = search.best_of_starts(result_of(objective, points), 3)
    assert list(best.best["codes"][:, 0]) == expected
    assert list(best.steps_taken) == [100 + i for i in expected]
    np.testing.assert_array_equal(best.history, np.array(expected)[:, None] * np.ones(points))
    np.testing.assert_array_equal(best.objective, np.array(objective, np.float32)[expected])
    assert len(best.status) == 2


def test_a_trial_whose_starts_all_diverged_says_so():
    best = search.best_of_starts(result_of([np.nan, np.inf, 1, 2]), 2)
    assert best.status == ["diverged", "ok"]


def test_one_start_is_left_alone():
    result = result_of([2, 1])
    assert search.best_of_starts(result, 1) is result


def test_low_ranks_reach_the_loop_in_factors_and_noise_whole(problem_of, model, monkeypatch):
    given = {}
    original = minimise.minimise

    def spy(*args, data, **kwargs):
        given.update(data)
        return original(*args, data=data, **kwargs)

    monkeypatch.setattr(minimise, "minimise", spy)
    problem = problem_of([0, 1], gradients=leaks_of(model, [0, 1]))
    dlg.invert(problem, DlgOptions(steps=1))
    assert given["target_0_left"].shape == (2, 1, 64)
    assert given["target_1"].shape == (2, 6)
    given.clear()
    dlg.invert(problem, DlgOptions(steps=1, control="random_gradient"))
    assert given["target_0"].shape == (2, 64, 6)


def test_leaks_in_factors_and_whole_ones_come_to_the_same(problem_of, model, monkeypatch):
    problem = problem_of([0, 1], gradients=leaks_of(model, [0, 1]))
    options = DlgOptions(steps=20)
    packed = dlg.invert(problem, options)
    monkeypatch.setattr(
        search, "pack_targets", lambda leaked: {f"target_{i}": g for i, g in enumerate(leaked)}
    )
    np.testing.assert_allclose(dlg.invert(problem, options).images, packed.images, atol=1e-4)


@pytest.mark.parametrize("same_leak", [True, False])
def test_a_checkpoint_serves_its_own_leak_alone(problem_of, model, tmp_path, same_leak):
    problem = problem_of([0, 1], gradients=leaks_of(model, [0, 1]))
    first = dlg.invert(problem, DlgOptions(steps=5), Resources(tmp_path))
    if not same_leak:
        problem = replace(problem, gradients=[1.01 * g for g in problem.gradients])
    calls = []
    again = dlg.invert(problem, DlgOptions(steps=5), Resources(tmp_path, progress=lambda *a: calls.append(a)))
    assert bool(calls) is not same_leak
    if same_leak:
        np.testing.assert_array_equal(again.images, first.images)


@pytest.mark.parametrize("labels", ["recovered", "joint"])
@pytest.mark.parametrize("dummies", [None, 2])
@pytest.mark.parametrize("attack", ["dlg", "latent", "label_only"])
def test_an_inversion_has_the_shape_of_the_contract(problem_of, decoder, attack, labels, dummies):
    problem = problem_of([5, 6])
    common = {"steps": 3, "labels": labels, "dummy_batch": dummies}
    if attack == "dlg":
        found = dlg.invert(problem, DlgOptions(**common))
    else:
        control = "label_only" if attack == "label_only" else "none"
        found = latent.invert(problem, LatentOptions(**common, starts=2, control=control), decoder)
    size = (2, dummies or SAMPLES)
    assert found.images.shape == (*size, *SHAPE)
    assert found.images.dtype == np.float32
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert found.labels.shape == found.accepted.shape == size
    assert found.labels.dtype == np.int64
    assert set(found.labels.flat) <= set(range(CLASSES))
    assert found.accepted.all()
    assert list(found.seeds) == [5, 6]
    assert found.objective.shape == (2,)
    assert np.isfinite(found.objective).all()
    assert found.history.shape == (2, len(found.history_steps))
    assert found.status == ["ok", "ok"]
