"""What the gradient-matching attacks share: random streams, labels, controls, and the choice among starts."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from gradleak.attacks.matching import dlg, gradient_matching, latent
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.attacks.problem import Members, Problem
from gradleak.optim import minimise

SHAPE, CLASSES, SAMPLES = (8, 8, 1), 10, 3


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(),
            keras.layers.Dense(6, "relu"),
            keras.layers.Dense(CLASSES),
        ]
    )


@pytest.fixture
def problem_of(model):
    def make(seeds, **changes):
        def gradient(index, variable, seed):
            return np.random.default_rng([seed, index]).normal(0, 0.1 * (index + 1), variable.shape)

        gradients = [
            np.stack([gradient(i, v, seed) for seed in seeds]).astype(np.float32)
            for i, v in enumerate(model.trainable_variables)
        ]
        counts = np.array([np.bincount([seed % 10, 1, 2], minlength=CLASSES) for seed in seeds])
        public = np.random.default_rng(1).uniform(0, 1, (5, *SHAPE)).astype(np.float32)
        return replace(
            Problem(
                model, gradients, np.array([0, 0, 1, 1]), SAMPLES, list(seeds), counts, public, np.arange(5)
            ),
            **changes,
        )

    return make


def assert_rows(block, index, alone):
    np.testing.assert_array_equal(block[index : index + 1], alone)


# --- the same alone and in a block --------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["normal", "uniform", "smooth_noise", "public_mean", "class_mean"])
def test_start_images_are_the_same_alone_and_in_any_block(problem_of, init):
    options = DlgOptions(init=init)
    block = dlg.start_images(problem_of([3, 4, 5]), options)
    assert block.shape == (3, SAMPLES, *SHAPE)
    assert block.dtype == np.float32
    assert_rows(block, 1, dlg.start_images(problem_of([4]), options))
    assert_rows(block, 2, dlg.start_images(problem_of([5, 9]), options)[:1])
    assert not np.array_equal(block[0], block[1])
    assert not np.array_equal(block[0, 0], block[0, 1])


def test_start_images_are_what_init_says(problem_of):
    problem = problem_of([0])
    uniform = dlg.start_images(problem, DlgOptions(init="uniform"))
    assert 0 <= uniform.min() < 0.1 < 0.9 < uniform.max() <= 1
    normal = dlg.start_images(problem, DlgOptions(init="normal", init_scale=0.5))
    assert normal.std() == pytest.approx(0.5, rel=0.2)
    mean = dlg.start_images(problem, DlgOptions(init="public_mean", init_scale=0))
    np.testing.assert_allclose(mean[0, 0], problem.public.mean(axis=0), rtol=1e-6)


def test_smooth_noise_is_smooth_and_spans_the_range(problem_of):
    images = dlg.start_images(problem_of([0, 1]), DlgOptions(init="smooth_noise"))
    assert np.abs(images.min(axis=(2, 3, 4))).max() < 1e-6
    assert np.abs(images.max(axis=(2, 3, 4)) - 1).max() < 1e-6
    rough = dlg.start_images(problem_of([0, 1]), DlgOptions(init="uniform"))

    def step(x):
        return np.abs(np.diff(x, axis=3)).mean() / x.std()

    assert step(images) < 0.9 * step(rough)


def test_class_means_start_where_the_dummies_labels_say(problem_of):
    problem = problem_of([0])  # of the classes 0, 1 and 2
    problem = replace(problem, public_labels=np.array([2, 1, 1, 2, 7]))
    images = dlg.start_images(problem, DlgOptions(init="class_mean", init_scale=0))[0]
    np.testing.assert_allclose(images[0], problem.public.mean(axis=0), rtol=1e-6)  # nothing public of class 0
    np.testing.assert_allclose(images[1], problem.public[1:3].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(images[2], problem.public[[0, 3]].mean(axis=0), rtol=1e-6)


def test_class_means_without_known_classes_are_refused():
    with pytest.raises(ValueError, match="class_mean"):
        DlgOptions(init="class_mean", labels="joint")


def test_start_labels_are_the_same_alone_and_in_any_block(problem_of):
    options = DlgOptions(labels="joint")
    block = gradient_matching.start_labels(problem_of([3, 4]), options)["label_logits"]
    assert block.shape == (2, SAMPLES, CLASSES)
    assert_rows(block, 1, gradient_matching.start_labels(problem_of([4]), options)["label_logits"])


@pytest.mark.parametrize("labels", ["recovered", "oracle"])
def test_given_labels_are_no_variables(problem_of, labels):
    assert gradient_matching.start_labels(problem_of([0]), DlgOptions(labels=labels)) == {}


def test_more_starts_never_change_the_earlier_ones(problem_of):
    options = LatentOptions(labels="joint")
    two = gradient_matching.start_labels(problem_of([3, 4]).repeat(2), options, 2)["label_logits"]
    three = gradient_matching.start_labels(problem_of([3, 4]).repeat(3), options, 3)["label_logits"]
    np.testing.assert_array_equal(two[[0, 1, 2, 3]], three[[0, 1, 3, 4]])
    assert not np.array_equal(two[0], two[1])


def test_streams_of_different_purposes_differ(problem_of):
    problem = problem_of([0])
    assert problem.rng(0, "a").normal() != problem.rng(0, "b").normal()
    assert problem.rng(0, "a").normal() == problem_of([1]).rng(0, "a").normal()


# --- repetition and choice -------------------------------------------------------------------------------------


def test_repeating_keeps_neighbours_together(problem_of):
    problem = problem_of([3, 4])
    copies = problem.repeat(3)
    assert copies.seeds == [3, 3, 3, 4, 4, 4]
    for one, other in zip(copies.gradients, problem.gradients, strict=True):
        np.testing.assert_array_equal(one, other[[0, 0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(copies.counts, problem.counts[[0, 0, 0, 1, 1, 1]])
    assert problem.repeat(1) is problem
    assert problem_of([3], counts=None).repeat(2).counts is None


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
    best = gradient_matching.best_of_starts(result_of(objective, points), 3)
    assert list(best.best["codes"][:, 0]) == expected
    assert list(best.steps_taken) == [100 + i for i in expected]
    np.testing.assert_array_equal(best.history, np.array(expected)[:, None] * np.ones(points))
    np.testing.assert_array_equal(best.objective, np.array(objective, np.float32)[expected])
    assert len(best.status) == 2


def test_a_trial_whose_starts_all_diverged_says_so():
    best = gradient_matching.best_of_starts(result_of([np.nan, np.inf, 1, 2]), 2)
    assert best.status == ["diverged", "ok"]


def test_one_start_is_left_alone():
    result = result_of([2, 1])
    assert gradient_matching.best_of_starts(result, 1) is result


# --- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dummies", "expected"),
    [
        (None, [0, 0, 0, 4, 7, 7]),
        (1, [4]),
        (2, [0, 7]),
        (3, [0, 4, 7]),
        (12, [0] * 6 + [4, 4] + [7] * 4),
        (7, [0, 0, 0, 4, 4, 7, 7]),
    ],
)
def test_counts_are_written_out_and_scaled_to_the_dummies(problem_of, dummies, expected):
    counts = np.array([[3, 0, 0, 0, 1, 0, 0, 2, 0, 0]])
    problem = problem_of([0], counts=counts, samples=6)
    found = gradient_matching.given_labels(problem, DlgOptions(dummy_batch=dummies))
    np.testing.assert_array_equal(found, [expected])


def test_labels_that_were_promised_but_are_not_there_are_an_error(problem_of):
    with pytest.raises(ValueError, match="needs label counts"):
        gradient_matching.given_labels(problem_of([0], counts=None), DlgOptions())


def test_a_trial_without_counts_is_not_applicable_and_its_neighbour_is_ok(problem_of):
    problem = problem_of([0, 1])
    problem.counts[0] = 0
    found = dlg.invert(problem, DlgOptions(steps=2))
    assert found.status == ["not applicable", "ok"]
    alone = dlg.invert(problem_of([1]), DlgOptions(steps=2))
    np.testing.assert_allclose(found.images[1:], alone.images, atol=1e-5)


# --- controls --------------------------------------------------------------------------------------------------------


RANDOM = DlgOptions(control="random_gradient")


def test_without_a_control_the_leak_is_the_target(problem_of):
    problem = problem_of([0])
    assert gradient_matching.targets(problem, DlgOptions()) is problem.gradients


def test_the_random_gradient_has_the_norms_of_the_leak_and_nothing_else(problem_of):
    problem = problem_of([0, 1])
    for noise, leaked in zip(gradient_matching.targets(problem, RANDOM), problem.gradients, strict=True):
        flat, true = noise.reshape(2, -1), leaked.reshape(2, -1)
        np.testing.assert_allclose(np.linalg.norm(flat, axis=1), np.linalg.norm(true, axis=1), rtol=1e-5)
        cosine = (flat * true).sum(axis=1) / np.square(np.linalg.norm(true, axis=1))
        assert (np.abs(cosine) < 0.99).all()
        assert noise.dtype == leaked.dtype


def test_the_random_gradient_is_the_same_alone_in_a_block_and_repeated(problem_of):
    block = gradient_matching.targets(problem_of([3, 4]), RANDOM)
    alone = gradient_matching.targets(problem_of([4]), RANDOM)
    copies = gradient_matching.targets(problem_of([3, 4]).repeat(2), RANDOM)
    for a, b, c in zip(block, alone, copies, strict=True):
        assert_rows(a, 1, b)
        np.testing.assert_array_equal(c, a[[0, 0, 1, 1]])


def test_tensors_of_equal_shape_get_noise_of_their_own(problem_of):
    problem = problem_of([0])
    twice = replace(problem, gradients=[problem.gradients[0], problem.gradients[0]])
    one, other = gradient_matching.targets(twice, RANDOM)
    assert not np.array_equal(one, other)


def test_a_zero_leak_gives_zero_noise(problem_of):
    problem = problem_of([0])
    zeros = replace(problem, gradients=[np.zeros_like(g) for g in problem.gradients])
    assert all((noise == 0).all() for noise in gradient_matching.targets(zeros, RANDOM))


# --- what the loop is given ------------------------------------------------------------------------------------


def leaks_of(model, seeds):
    """Gradients of one image each: of rank one in the kernels."""
    from gradleak import gradients

    rng = np.random.default_rng(len(seeds))
    x = rng.uniform(0, 1, (len(seeds), 1, *SHAPE)).astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, (len(seeds), 1))]
    return [g.numpy() for g in gradients.build_matcher(model).gradients(x, labels)]


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
    from gradleak import gradients

    problem = problem_of([0, 1], gradients=leaks_of(model, [0, 1]))
    options = DlgOptions(steps=20)
    packed = dlg.invert(problem, options)
    monkeypatch.setattr(
        gradients, "pack_targets", lambda leaked: {f"target_{i}": g for i, g in enumerate(leaked)}
    )
    np.testing.assert_allclose(dlg.invert(problem, options).images, packed.images, atol=1e-4)


@pytest.mark.parametrize("same_leak", [True, False])
def test_a_checkpoint_serves_its_own_leak_alone(problem_of, model, tmp_path, same_leak):
    problem = problem_of([0, 1], gradients=leaks_of(model, [0, 1]))
    first = dlg.invert(problem, DlgOptions(steps=5), checkpoint=tmp_path)
    if not same_leak:
        problem = replace(problem, gradients=[1.01 * g for g in problem.gradients])
    calls = []
    again = dlg.invert(problem, DlgOptions(steps=5), tmp_path, progress=lambda *a: calls.append(a))
    assert bool(calls) is not same_leak
    if same_leak:
        np.testing.assert_array_equal(again.images, first.images)


# --- what an attack writes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(64, "sigmoid"), keras.layers.Reshape(SHAPE)]
    )


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


def test_label_only_does_not_look_at_the_gradient(problem_of, decoder):
    problem = problem_of([5, 6])
    blind = replace(problem, gradients=[-3 * g for g in problem.gradients])
    options = LatentOptions(steps=5, control="label_only")
    one, other = (latent.invert(p, options, decoder) for p in (problem, blind))
    np.testing.assert_array_equal(one.images, other.images)
    seeing = [latent.invert(p, LatentOptions(steps=5), decoder).images for p in (problem, blind)]
    assert not np.array_equal(*seeing)


# --- members that are known -----------------------------------------------------------------------------------------


def test_members_stand_in_places_of_their_labels_as_far_as_there_are_any():
    labels = np.array([[1, 1, 4], [2, 2, 2]])
    accepted = np.array([[True, False, True, True], [False, False, False, False]])
    found = np.array([[4, 1, 4, 1], [2, 2, 2, 2]])
    first, second = dlg.held_places(labels, accepted, found)
    np.testing.assert_array_equal(first, [[2, 0], [0, 3]])  # image 2 shows a second 4: there is one
    assert second.shape == (0, 2)


@pytest.mark.parametrize("starts", [1, 2])
def test_members_stay_as_they_are_and_the_others_are_searched_for(model, starts):
    import tensorflow as tf

    x = np.random.default_rng(3).uniform(0, 1, (2, *SHAPE)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([4, 7], model(x)))
    gradients = [g.numpy()[None] for g in tape.gradient(loss, model.trainable_variables)]
    counts = np.eye(CLASSES, dtype=int)[[4, 7]].sum(axis=0)[None]
    known = Members(x[None, ::-1], np.array([[7, 4]]), np.array([[True, False]]))
    problem = Problem(
        model, gradients, np.array([0, 0, 1, 1]), 2, [0], counts, x, np.array([4, 7]), members=known
    )
    found = dlg.invert(problem, DlgOptions(steps=400, tv=0.0, polish_steps=20, starts=starts))
    np.testing.assert_array_equal(found.images[0, 1], x[1])
    assert np.mean((found.images[0, 0] - x[0]) ** 2) < 1e-3
    np.testing.assert_array_equal(found.labels, [[4, 7]])


@pytest.mark.parametrize("other", [{"labels": "joint"}, {"control": "random_gradient"}])
def test_members_without_known_labels_or_of_a_control_are_refused(other):
    with pytest.raises(ValueError, match="members"):
        DlgOptions(members={}, **other)


def test_dlg_recovers_an_image_from_its_own_gradient(model):
    """One image of a dense net, label known: the easiest leak there is."""
    import tensorflow as tf

    x = np.random.default_rng(3).uniform(0, 1, (1, *SHAPE)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([4], model(x))
    gradients = [g.numpy()[None] for g in tape.gradient(loss, model.trainable_variables)]
    counts = np.eye(CLASSES, dtype=int)[[4]]
    problem = Problem(model, gradients, np.array([0, 0, 1, 1]), 1, [0], counts, x, np.array([4]))
    found = dlg.invert(problem, DlgOptions(steps=400, tv=0.0))
    assert np.mean((found.images[0] - x) ** 2) < 1e-3
    assert found.labels[0, 0] == 4
