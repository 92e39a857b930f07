"""The starts of DLG: what each is, and the same alone and in any block."""

from dataclasses import replace

import numpy as np
import pytest
from small_problems import SAMPLES, SHAPE, assert_rows

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.start_images import start_images


@pytest.mark.parametrize("init", ["normal", "uniform", "smooth_noise", "public_mean", "class_mean"])
def test_start_images_are_the_same_alone_and_in_any_block(problem_of, init):
    options = DlgOptions(init=init)
    block = start_images(problem_of([3, 4, 5]), options)
    assert block.shape == (3, SAMPLES, *SHAPE)
    assert block.dtype == np.float32
    assert_rows(block, 1, start_images(problem_of([4]), options))
    assert_rows(block, 2, start_images(problem_of([5, 9]), options)[:1])
    assert not np.array_equal(block[0], block[1])
    assert not np.array_equal(block[0, 0], block[0, 1])


def test_start_images_are_what_init_says(problem_of):
    problem = problem_of([0])
    uniform = start_images(problem, DlgOptions(init="uniform"))
    assert 0 <= uniform.min() < 0.1 < 0.9 < uniform.max() <= 1
    normal = start_images(problem, DlgOptions(init="normal", init_scale=0.5))
    assert normal.std() == pytest.approx(0.5, rel=0.2)
    mean = start_images(problem, DlgOptions(init="public_mean", init_scale=0))
    np.testing.assert_allclose(mean[0, 0], problem.public.mean(axis=0), rtol=1e-6)


def test_smooth_noise_is_smooth_and_spans_the_range(problem_of):
    images = start_images(problem_of([0, 1]), DlgOptions(init="smooth_noise"))
    assert np.abs(images.min(axis=(2, 3, 4))).max() < 1e-6
    assert np.abs(images.max(axis=(2, 3, 4)) - 1).max() < 1e-6
    rough = start_images(problem_of([0, 1]), DlgOptions(init="uniform"))

    def step(x):
        return np.abs(np.diff(x, axis=3)).mean() / x.std()

    assert step(images) < 0.9 * step(rough)


def test_class_means_start_where_the_dummies_labels_say(problem_of):
    problem = problem_of([0])  # of the classes 0, 1 and 2
    problem = replace(problem, public_labels=np.array([2, 1, 1, 2, 7]))
    images = start_images(problem, DlgOptions(init="class_mean", init_scale=0))[0]
    np.testing.assert_allclose(images[0], problem.public.mean(axis=0), rtol=1e-6)  # nothing public of class 0
    np.testing.assert_allclose(images[1], problem.public[1:3].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(images[2], problem.public[[0, 3]].mean(axis=0), rtol=1e-6)


def test_class_means_without_known_classes_are_refused():
    with pytest.raises(ValueError, match="class_mean"):
        DlgOptions(init="class_mean", labels="joint")
