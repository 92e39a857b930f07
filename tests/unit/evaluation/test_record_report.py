"""Records in the report: found beside true, wrong fields marked."""

import pytest
from results import image_scores

from gradleak.evaluation import record_report

RECORDS = {
    "fields": ["age", "<b>work"],
    "found": [[41, "state"], [30.25, "<i>"]],
    "true": [[41, "private"], [30.5, "<i>"]],
    "right": [[True, False], [True, True]],
}


@pytest.fixture
def cells(results):
    results.cell("a").block("a", scores=image_scores).cell("s", "span").block("s", scores=image_scores)
    return results.frames()["cells"]


def scores(accuracy, **records):
    return {
        "seed": round(10 * accuracy),
        "true_counts": [2, 0],
        "field_accuracy": accuracy,
        "field_accuracy_chance": 0.25,
        "records": RECORDS | records,
    }


def test_the_trial_with_the_most_right_fields_is_shown(cells):
    html = record_report.section(cells, {"a": [scores(0.5), scores(0.75), {"seed": 3}]})
    assert "Seed 8. Right: 75 % of all fields of all 2 records" in html
    assert "the median, 25 %" in html
    assert html.count("<table") == 1
    assert html.count("class='bad'") == html.count("✗") == 1
    assert "<td class='bad'>state ✗</td><td>private</td>" in html
    assert "<td>30.25</td><td>30.5</td>" in html
    assert "<th>found 1</th><th>true 1</th><th>found 2</th><th>true 2</th>" in html
    assert "&lt;b&gt;work" in html
    assert "<i>" not in html


def test_span_inversion_comes_first_and_at_most_so_many_cells(cells, monkeypatch):
    both = {"a": [scores(0.5)], "s": [scores(0.9)]}
    html = record_report.section(cells, both)
    assert html.index("Seed 9") < html.index("Seed 5")
    monkeypatch.setattr(record_report, "SHOWN_CELLS", 1)
    monkeypatch.setattr(record_report, "SHOWN_FIELDS", 1)
    html = record_report.section(cells, both)
    assert "Seed 5" not in html
    assert "1 further cells" in html
    assert "1 further fields" in html


def test_without_truth_the_found_fields_stand_alone(cells):
    blind = {"seed": 0, "records": RECORDS | {"true": [], "right": []}}
    html = record_report.section(cells, {"a": [blind]})
    assert "<th>found 2</th>" in html
    assert "<th>true" not in html
    assert "✗" not in html
    assert "state" in html


def test_what_there_is_not_is_said(cells):
    assert record_report.section(cells, {}) == ""
    assert "No trial is ok." in record_report.section(cells, {"a": [{"seed": 0}]})
    html = record_report.section(cells, {"a": [scores(0.0, found=[], true=[], right=[])]})
    assert "No record was certified." in html
