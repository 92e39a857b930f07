"""The loop on problems with a known answer: convergence, boxes, accidents, resuming, stopping, polishing."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from gradleak.optim import widths as widths_module
from gradleak.optim.limits import Limits
from gradleak.optim.minimise import Loop, LoopSettings, minimise
from gradleak.optim.resources import Resources

TRIALS, SIZE = 6, 7
RNG = np.random.default_rng(5)
CENTRE = RNG.normal(size=(TRIALS, SIZE)).astype(np.float32)
STIFFNESS = np.geomspace(1, 30, SIZE, dtype=np.float32)[None]
DATA = {"centre": CENTRE, "stiffness": STIFFNESS}
START = {"x": np.zeros((TRIALS, SIZE), np.float32)}


def quadratic(variables, data):
    return tf.reduce_sum(data["stiffness"] * tf.square(variables["x"] - data["centre"]), axis=1)


def rosenbrock(variables, data):
    x = variables["x"]
    return tf.reduce_sum(100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2, axis=1)


def assert_same_bytes(a, b):
    np.testing.assert_array_equal(a.best["x"], b.best["x"])
    np.testing.assert_array_equal(a.objective, b.objective)
    np.testing.assert_array_equal(a.history, b.history)
    np.testing.assert_array_equal(a.steps_taken, b.steps_taken)


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 1e-4),
        ({"optimizer": "sign_adam", "decay": "step"}, 1e-3),
        ({"decay": "cosine"}, 1e-2),
        ({"clip_norm": 1.0}, 1e-3),
        ({"steps": 40, "polish_steps": 40}, 1e-5),
        ({"steps": 0, "polish_steps": 60}, 1e-5),
    ],
)
def test_finds_the_minimum(changes, tolerance):
    result = minimise(quadratic, START, LoopSettings(**{"steps": 300} | changes), data=DATA)
    np.testing.assert_allclose(result.best["x"], CENTRE, atol=tolerance)
    assert result.status == ["ok"] * TRIALS
    assert set(result.seconds) == {"tracing", "compute"}
    assert all(
        isinstance(array, np.ndarray) for array in (result.best["x"], result.objective, result.history)
    )


def test_objective_is_the_loss_at_best():
    result = minimise(quadratic, START, LoopSettings(steps=30), data=DATA)
    at_best = quadratic({"x": result.best["x"]}, DATA)
    np.testing.assert_allclose(result.objective, at_best, rtol=1e-5)


def test_several_variables_keep_their_shapes():
    centres = {
        "a": RNG.normal(size=(2, 3, 4)).astype(np.float32),
        "b": RNG.normal(size=(2, 5)).astype(np.float32),
    }

    def objective(variables, data):
        apart = {k: tf.square(variables[k] - data[k]) for k in ("a", "b")}
        return tf.reduce_sum(apart["a"], axis=[1, 2]) + tf.reduce_sum(apart["b"], axis=1)

    start = {k: np.zeros_like(v) for k, v in centres.items()}
    result = minimise(objective, start, LoopSettings(steps=50, polish_steps=30), data=centres)
    for name, centre in centres.items():
        np.testing.assert_allclose(result.best[name], centre, atol=1e-5)


@pytest.mark.parametrize(("polish", "tolerance"), [(0, 1e-2), (60, 1e-5)])
def test_box_is_kept_and_its_edge_found(polish, tolerance):
    settings = LoopSettings(steps=300, polish_steps=polish)
    result = minimise(quadratic, START, settings, data=DATA, box={"x": (-0.5, 0.5)})
    assert np.abs(result.best["x"]).max() <= 0.5
    np.testing.assert_allclose(result.best["x"], CENTRE.clip(-0.5, 0.5), atol=tolerance)


def test_polish_solves_a_batch_of_rosenbrock_valleys():
    start = {"x": RNG.uniform(-1, 1, (12, 2)).astype(np.float32)}
    result = minimise(rosenbrock, start, LoopSettings(steps=0, polish_steps=150))
    np.testing.assert_allclose(result.best["x"], 1, atol=1e-3)


def test_polish_never_makes_a_trial_worse():
    before = minimise(quadratic, START, LoopSettings(steps=100), data=DATA)
    after = minimise(quadratic, START, LoopSettings(steps=100, polish_steps=5), data=DATA)
    assert np.all(after.objective <= before.objective)


@pytest.mark.parametrize("polish", [0, 30])
def test_an_accident_in_one_trial_leaves_the_others_bytes(polish):
    def fragile(variables, data):
        """Not a number wherever the trial's x has gone beyond its cliff."""
        beyond = tf.reduce_max(variables["x"], axis=1) > data["cliff"]
        return tf.where(beyond, tf.cast(np.nan, tf.float32), quadratic(variables, data))

    settings = LoopSettings(steps=120, polish_steps=polish)
    cliff = np.full(TRIALS, 1e9, np.float32)
    calm = minimise(fragile, START, settings, data=DATA | {"cliff": cliff})
    victim = CENTRE.max(axis=1).argmax()  # whose minimum lies beyond
    cliff[victim] = 0.3
    rough = minimise(fragile, START, settings, data=DATA | {"cliff": cliff})
    others = np.arange(TRIALS) != victim
    np.testing.assert_array_equal(calm.best["x"][others], rough.best["x"][others])
    np.testing.assert_array_equal(calm.history[others], rough.history[others])
    assert rough.status == ["ok"] * TRIALS
    assert np.isfinite(rough.best["x"]).all()
    assert calm.objective[victim] < rough.objective[victim] < rough.history[victim, 0]


@pytest.mark.parametrize("polish", [0, 30])
def test_a_trial_that_is_never_finite_is_diverged(polish):
    start = {"x": START["x"].copy()}
    start["x"][1] = np.inf
    result = minimise(quadratic, start, LoopSettings(steps=20, polish_steps=polish), data=DATA)
    assert result.status == ["ok", "diverged", "ok", "ok", "ok", "ok"]
    assert np.isinf(result.objective[1])


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("chunks_before", [1, 3, 5, 8])
def test_resuming_ends_in_the_same_bytes(tmp_path, chunks_before):
    settings = LoopSettings(steps=100, polish_steps=60, chunk=20, plateau=15)

    def interrupt(done, total, losses):
        nonlocal chunks_before
        chunks_before -= 1
        if not chunks_before:
            raise Interrupted

    whole = minimise(quadratic, START, settings, data=DATA)
    with pytest.raises(Interrupted):
        minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path, progress=interrupt))
    steps = []
    resumed = minimise(
        quadratic,
        START,
        settings,
        data=DATA,
        resources=Resources(tmp_path, progress=lambda done, *_: steps.append(done)),
    )
    assert len(steps) < 9
    assert_same_bytes(whole, resumed)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_finished_checkpoint_gives_its_result_again(tmp_path):
    settings = LoopSettings(steps=30, polish_steps=10)
    first = minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path))
    again = minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path))
    assert_same_bytes(first, again)
    assert first.seconds == again.seconds


@pytest.mark.parametrize("change", ["settings", "start", "box", "key"])
def test_a_checkpoint_of_another_run_is_left_alone(tmp_path, change):
    settings = LoopSettings(steps=30)
    minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path, "a"))
    other = {
        "settings": LoopSettings(steps=31) if change == "settings" else settings,
        "start": {"x": START["x"] + 1} if change == "start" else START,
        "box": {"x": (-9, 9)} if change == "box" else None,
        "key": "b" if change == "key" else "a",
    }
    calls = []
    resources = Resources(tmp_path, other["key"], lambda *a: calls.append(a))
    run = {"data": DATA, "box": other["box"], "resources": resources}
    minimise(quadratic, other["start"], other["settings"], **run)
    assert calls


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", "halved"])
def test_a_damaged_checkpoint_is_ignored(tmp_path, damage):
    settings = LoopSettings(steps=30)
    whole = minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path))
    file = tmp_path / "state.npz"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == "halved" else damage)
    assert_same_bytes(whole, minimise(quadratic, START, settings, data=DATA, resources=Resources(tmp_path)))


def test_plateau_stops_trials_one_by_one_and_narrows_the_batch():
    widths = set()

    def watched(variables, data):
        widths.add(variables["x"].shape[0])
        return quadratic(variables, data) + data["floor"][:, 0]

    floor = np.geomspace(1e-8, 1e4, TRIALS, dtype=np.float32)[
        :, None
    ]  # the higher, the sooner nothing is gained
    data = DATA | {"floor": floor}
    settings = LoopSettings(steps=600, plateau=30, chunk=20)
    together = minimise(watched, START, settings, data=data)
    assert widths == {6, 2, 1} or widths == {6, 2}
    assert len(set(together.steps_taken)) > 2
    assert together.steps_taken.max() < 600
    for t in range(TRIALS):
        one = slice(t, t + 1)
        alone = minimise(
            watched,
            {"x": START["x"][one]},
            settings,
            data={k: v[one] if len(v) > 1 else v for k, v in data.items()},
        )
        np.testing.assert_allclose(alone.best["x"], together.best["x"][one], atol=1e-4)
        assert alone.steps_taken[0] == together.steps_taken[t]


def test_a_stopped_trial_has_no_history_after_its_end():
    floor = np.array([0, 1e4], np.float32)
    result = minimise(
        lambda v, d: tf.reduce_sum(tf.square(v["x"] - 1), axis=1) + d["floor"],
        {"x": np.zeros((2, 3), np.float32)},
        LoopSettings(steps=200, plateau=40, learning_rate=0.01),
        data={"floor": floor},
    )
    assert np.isnan(result.history[1, -1])
    assert np.isfinite(result.history[0, -1])


@pytest.mark.parametrize("points", [2, 3, 17, 200, 10_000])
def test_history_is_bounded_and_keeps_first_last_and_minimum(points):
    losses = []
    settings = LoopSettings(steps=400, learning_rate=0.3, history_points=points, chunk=1)
    result = minimise(
        quadratic, START, settings, data=DATA, resources=Resources(progress=lambda *a: losses.append(a[2]))
    )
    full = np.stack(losses, axis=1)
    assert full.shape == (TRIALS, 401)
    assert result.history.shape == (TRIALS, len(result.history_steps))
    assert len(result.history_steps) <= points
    assert result.history_steps[0] == 0
    assert result.history_steps[-1] == 400
    np.testing.assert_array_equal(result.history[:, 0], full[:, 0])
    np.testing.assert_array_equal(result.history.min(axis=1), full.min(axis=1))
    np.testing.assert_array_equal(result.history.min(axis=1), result.objective)
    if points > 2:
        np.testing.assert_array_equal(result.history[:, -1], full[:, -1])


def test_data_of_another_length_is_refused():
    with pytest.raises(ValueError, match="centre"):
        minimise(quadratic, START, LoopSettings(steps=1), data=DATA | {"centre": CENTRE[:4]})


def test_step_decay_follows_the_milestones():
    def walk(variables, data):
        return tf.reduce_sum(variables["x"], axis=1)

    places = []
    settings = LoopSettings(steps=8, learning_rate=1.0, decay="step", optimizer="sign_adam", chunk=1)
    minimise(
        walk,
        {"x": np.zeros((1, 1))},
        settings,
        resources=Resources(progress=lambda *a: places.append(a[2][0])),
    )
    np.testing.assert_allclose(-np.diff(places), [1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-2)


# --- computed in groups
# ------------------------------------------------------------------------------------------


def widths_of(limits, start=START, data=DATA, **settings):
    """The result under some limits, and the numbers of trials that the objective was given."""
    widths = set()

    def watched(variables, data):
        widths.add(variables["x"].shape[0])
        return quadratic(variables, data)

    settings = LoopSettings(**{"steps": 60, "polish_steps": 30, "chunk": 20} | settings)
    return minimise(watched, start, settings, data=data, resources=Resources(limits=limits)), widths


@pytest.mark.parametrize(("at_once", "width"), [(6, 6), (5, 3), (4, 3), (3, 3), (2, 2), (1, 1), (9, 6)])
def test_groups_come_to_the_same(at_once, width):
    whole, _ = widths_of(Limits())
    groups, widths = widths_of(Limits(at_once=at_once))
    assert widths == {width}
    np.testing.assert_allclose(groups.best["x"], whole.best["x"], atol=1e-5)
    np.testing.assert_allclose(groups.history, whole.history, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(groups.history_steps, whole.history_steps)
    assert groups.status == whole.status


@pytest.mark.parametrize("trials", [1, 4, 5])
def test_groups_that_do_not_come_out_even_come_to_the_same(trials):
    start = {"x": START["x"][:trials]}
    data = DATA | {"centre": CENTRE[:trials]}
    whole, _ = widths_of(Limits(), start, data)
    groups, _ = widths_of(Limits(at_once=3), start, data)
    np.testing.assert_allclose(groups.best["x"], whole.best["x"], atol=1e-5)
    np.testing.assert_array_equal(groups.steps_taken, whole.steps_taken)


def test_groups_form_anew_when_trials_stop_and_after_a_break(tmp_path):
    floor = np.geomspace(1e-8, 1e4, TRIALS, dtype=np.float32)
    settings = LoopSettings(steps=600, plateau=30, chunk=20)
    calls = []

    def objective(variables, data):
        return quadratic(variables, data) + data["floor"]

    def interrupt(*args):
        calls.append(args)
        if len(calls) == 12:
            raise Interrupted

    data, limits = DATA | {"floor": floor}, Limits(at_once=4)
    whole = minimise(objective, START, settings, data=data)
    groups = minimise(objective, START, settings, data=data, resources=Resources(limits=limits))
    kept = Resources(tmp_path, limits=limits)
    with pytest.raises(Interrupted):
        minimise(objective, START, settings, data=data, resources=replace(kept, progress=interrupt))
    assert_same_bytes(groups, minimise(objective, START, settings, data=data, resources=kept))
    np.testing.assert_array_equal(groups.steps_taken, whole.steps_taken)
    np.testing.assert_allclose(groups.best["x"], whole.best["x"], atol=1e-4)


def test_a_block_goes_through_in_passes_that_fit_the_caches(monkeypatch):
    monkeypatch.setattr(widths_module, "_BYTES_OF_PASS", 0)  # a quadratic takes far less than a net: no guess
    start = {"x": np.zeros((TRIALS, 10_000), np.float32)}
    data = {"centre": np.ones_like(start["x"]), "stiffness": np.ones_like(start["x"][:1])}
    whole, widths = widths_of(Limits(memory=1e12), start, data)
    assert widths == {TRIALS}
    monkeypatch.setattr(widths_module, "_BEST_PASS", 3e6)
    passes, widths = widths_of(Limits(memory=1e12), start, data)
    assert 1 <= min(widths) < TRIALS
    np.testing.assert_allclose(passes.best["x"], whole.best["x"], atol=1e-5)
    _, widths = widths_of(Limits(), start, data)  # a graphics card has other caches
    assert widths == {TRIALS}


def test_little_memory_makes_small_groups_and_plenty_one(monkeypatch):
    monkeypatch.setattr(widths_module, "_BYTES_OF_PASS", 0)  # a quadratic takes far less than a net: no guess
    monkeypatch.setattr(widths_module, "peak_memory", lambda: 1e9)
    start = {"x": np.zeros((TRIALS, 10_000), np.float32)}
    data = {"centre": np.ones_like(start["x"]), "stiffness": np.ones_like(start["x"][:1])}
    plenty, widths = widths_of(Limits(memory=2e9), start, data)
    assert widths == {TRIALS}
    little, widths = widths_of(Limits(memory=1e9 + 2e6), start, data)
    assert 1 <= min(widths) < TRIALS
    np.testing.assert_allclose(little.best["x"], plenty.best["x"], atol=1e-5)
    _, widths = widths_of(Limits(memory=1), start, data)
    assert min(widths) == 1


def test_runs_of_equal_shapes_are_compiled_once():
    traced = []

    def watched(variables, data):
        traced.append(variables["x"].shape)
        return quadratic(variables, data)

    loop = Loop(watched, LoopSettings(steps=30, polish_steps=10))
    first = loop.run(START, DATA)
    compiled = len(traced)
    again = loop.run({"x": START["x"] + 1}, DATA)
    assert len(traced) == compiled
    assert_same_bytes(first, loop.run(START, DATA))
    assert not np.array_equal(first.history, again.history)
    loop.run(
        {"x": START["x"][:2]}, {name: value[:2] if len(value) > 1 else value for name, value in DATA.items()}
    )
    assert len(traced) == 2 * compiled
