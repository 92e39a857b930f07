"""The headline as a LaTeX table."""

import re

import pytest
from results import image_scores, label_scores

from gradleak.evaluation import latex


@pytest.fixture
def headline(results):
    """Two sizes, one of them with an odd name, a better weighting, labels."""
    results.cell("a").cell("b", weighting="depth").cell("big", **{"target.batch_size": 8})
    results.cell("x", attack="dlg_&_co", **{"target.batch_size": 16})
    for name, level in {"a": 20, "b": 23, "big": 12, "x": 30}.items():
        results.block(
            name, (0, 1, 2, 3), lambda seed, level=level: image_scores(seed) | {"psnr": level + seed}
        )
    results.cell("rank1", "labels", method="rank1").block("rank1", (0, 1), label_scores)
    return results.frames()["headline"]


def test_latex_has_every_row_escaped(headline):
    text = latex.table(headline)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 4
    assert all(len(re.split(r"(?<!\\)&", row)) == 8 for row in rows)
    assert r"dlg\_\&\_co" in text
    assert "Fields right" not in text
    assert "& Fields right &" in latex.table(headline.assign(field_accuracy=0.9))
    assert re.search(r"24\.5 \(2\d\.\d--2\d\.\d\)", text)
