"""Which figures a study has, and that the registry is light enough for the workflow."""

import subprocess
import sys
from pathlib import Path

import pytest

from gradleak.evaluation.figures.registry import FIGURES, StudyFacts, shown

SCRIPTS = Path(__file__).parents[3] / "scripts"
OF_IMAGES = {"reconstructions", "loss_curves"}
OF_SCORED_IMAGES = {"recovery", "psnr_by_batch_size", "effects", "seeds"}
OF_LABELS = {"effects", "label_recovery", "label_counts", "label_skill", "label_table"}
OF_INTERVALS = {"label_coverage", "label_intervals"}


def facts(attacks, scored=(), has_intervals=False):
    return StudyFacts(frozenset(attacks), frozenset(scored), has_intervals)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts([]), set()),
        (facts(["labels"]), set()),
        (facts(["span", "labels"]), OF_IMAGES),
        (facts(["span"], ["span"]), OF_IMAGES | OF_SCORED_IMAGES),
        (facts(["dlg"], ["dlg"]), OF_IMAGES | OF_SCORED_IMAGES | {"weighting"}),
        (facts(["labels"], ["labels"]), OF_LABELS),
        (facts(["labels"], ["labels"], True), OF_LABELS | OF_INTERVALS),
        (facts(["dlg", "labels"], ["dlg", "labels"], True), set(FIGURES)),
    ],
)
def test_a_study_has_the_figures_that_show_something(given, expected):
    assert set(shown(given)) == expected


def test_every_figure_has_its_caption_and_its_inputs():
    known = {"trials", "cells", "labels", "effects", "pairs", "records"}
    for name, figure in FIGURES.items():
        assert figure.name == name
        assert figure.caption.endswith(".")
        assert figure.inputs
        assert known.issuperset(figure.inputs)


def test_the_registry_imports_neither_pandas_nor_matplotlib():
    code = (
        "import sys; from gradleak.evaluation.figures import registry\n"
        "from gradleak.evaluation import cell_names\n"
        "assert not {'pandas', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCRIPTS)
