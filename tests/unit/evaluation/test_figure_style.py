"""Saving figures: the same bytes every time, and no half-written files."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from studies import drawn, whole

from gradleak.evaluation.figures import style


def test_figures_are_the_same_bytes_every_time(results, tmp_path):
    whole(results)
    for name in ("one.png", "two.png"):
        style.save(drawn("weighting", results), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_figure_that_fails_leaves_no_file(tmp_path, monkeypatch):
    figure = plt.figure()
    monkeypatch.setattr(figure, "savefig", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        style.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1, 64, 1), (8, 1, 1), (4, 5, 3), (1, 20, 2)])
def test_images_of_any_shape_are_drawn(shape):
    _, axis = plt.subplots()
    style.picture(axis, np.zeros(shape, np.uint8))
    (drawn,) = axis.get_images()
    height = shape[0] * (1 if shape[2] in (1, 3) else shape[2])
    assert drawn.get_array().shape[:2] == (height, shape[1])
