"""Saving figures: the same bytes every time, and no half-written files."""

import matplotlib.pyplot as plt
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
