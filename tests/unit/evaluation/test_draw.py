"""Every figure draws, whatever is missing; the registry and the drawing functions agree."""

import inspect
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from studies import CASES, drawn, whole

from gradleak.evaluation.figures import draw, registry, style
from gradleak.workflow import code_digest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def test_every_figure_of_the_registry_has_a_drawing_function_that_takes_its_inputs():
    inputs = {name: tuple(inspect.signature(function).parameters) for name, function in draw.DRAW.items()}
    assert inputs == {name: figure.inputs for name, figure in registry.FIGURES.items()}


def test_captions_are_no_part_of_what_a_figure_is_drawn_by():
    for script in ("plot.py", "plot_mapping.py", "plot_prior.py"):
        assert "evaluation/figures/registry.py" not in code_digest.modules(SCRIPTS / script)
    assert "evaluation/figures/registry.py" in code_digest.modules(SCRIPTS / "write_report.py")


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", draw.DRAW)
def test_every_figure_draws_whatever_is_missing(results, case, name, tmp_path):
    case(results)
    figure = drawn(name, results)
    assert isinstance(figure, Figure)
    style.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize("name", draw.DRAW)
def test_a_figure_with_data_is_not_the_empty_one(results, name):
    whole(results)
    figure = drawn(name, results)
    shown = sum(
        len(axis.lines) + len(axis.patches) + len(axis.images) + len(axis.collections) + len(axis.texts)
        for axis in figure.axes
    )
    assert shown > 2
