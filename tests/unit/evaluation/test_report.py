"""The report, from small tables with all that can be missing."""

import pytest
from results import image_scores
from studies import CASES, blind, failed, whole

from gradleak.evaluation import report
from gradleak.evaluation.provenance import Provenance

EVIL = "<script>alert('x')</script>"
FOUND = {
    "sign": {"value": "after_minus_before", "evidence": EVIL},
    "scale": {"value": 0.05, "evidence": "e"},
    "samples": {"value": 4, "evidence": "e"},
    "verdict": f"verdict {EVIL}",
}


@pytest.fixture
def page(results, tmp_path):
    def render(case, **changes):
        case(results)
        frames = results.frames()
        picture = tmp_path / "figures" / "weighting.png"
        picture.parent.mkdir()
        picture.write_bytes(b"\x89PNG not really")
        parts = {
            **{name: frames[name] for name in ("cells", "trials", "headline", "effects")},
            "figures": [picture],
            "mappings": {"demo": FOUND},
            "mapping_figures": [picture],
            "prior_figures": [picture],
            "recovered": {},
            "reference_accuracy": {"mnist-5k": 0.973, "tags": None},
            "descriptions": {"demo": "What it is."},
            "settings": results.cells,
            "provenance": Provenance({"git": "abc"}, "snakemake", {"results/tables/cells.csv": "f00"}),
        }
        return report.render(report.Report(**parts | changes))

    return render


@pytest.mark.parametrize("case", CASES)
def test_the_report_renders_whatever_is_missing(page, case):
    html = page(case)
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")
    for tag in ("table", "ul", "figure", "div", "tr", "td"):
        assert html.count(f"<{tag}>") + html.count(f"<{tag} ") == html.count(f"</{tag}>")
    assert ">nan<" not in html


def test_the_report_stands_alone(page):
    html = page(whole)
    assert "http" not in html
    assert html.count("data:image/png;base64,") == 3


def evil(results):
    results.cell("a", target=EVIL).cell("b", target="demo", prior=EVIL).cell("c", prior="vae")
    for name in results.cells:
        results.block(name, (0, 1), image_scores, {1: "failed"}, f"reason {EVIL}")


def test_the_report_escapes_whatever_comes_from_outside(page):
    html = page(evil, mappings={EVIL: FOUND}, descriptions={"demo": EVIL}, reference_accuracy={EVIL: 0.5})
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_the_report_marks_oracle_rows(page):
    rows = [row for row in page(whole).split("<tr") if "<td" in row]
    marked = [row.split("</tr>")[0] for row in rows if "class=oracle>oracle" in row]
    assert len(marked) == 1
    assert "<code>e</code>" in marked[0]


def test_the_headline_is_of_fair_attacks_beside_their_best_control(page):
    def case(results):
        whole(results)
        results.cell("best", labels="oracle", steps=1)
        results.block("best", scores=lambda seed: image_scores(seed) | {"psnr": 77.7})
        results.cell("noise", control="random_gradient", steps=1)
        results.block("noise", scores=lambda seed: image_scores(seed) | {"psnr": 66.6})

    headline = page(case).split("<h2")[0]
    rows = {
        row.split("<td>")[1].split("</td>")[0]: row for row in headline.split("<tr") if "<b>dlg</b>" in row
    }
    assert "77.7" not in headline, "an oracle never makes the headline"
    assert "66.6 <span class='ci'>dlg, recovered labels, random gradient</span>" in rows["4"]
    assert "below it" in rows["4"]
    assert "11.0 <span class='ci'>nearest public image</span>" in rows["1"], "no other control of its size"
    assert "above it" in rows["1"]
    assert "<b>Worst failure:</b> dlg at N = 4 reaches 20.5 dB, 46.1 dB less" in headline
    assert "<b>Worst leak:</b>" in headline


def test_the_report_says_when_trials_failed_and_why(page):
    html = page(failed)
    assert "Not ok: 5 of 6 trials." in html
    assert "<b>2</b> × dlg <code>a</code>: diverged. no finite objective" in html
    assert "<b>2</b> × labels <code>rank1</code>: not applicable. no bias" in html
    assert html.count("<tr class='bad'") == 3


def test_the_report_mentions_no_failures_where_there_are_none(page):
    html = page(whole)
    assert "Not ok" not in html
    assert "<tr class='bad'" not in html


def test_the_report_says_when_there_was_no_truth(page):
    assert "No truth was given" in page(blind)


def certified(results):
    """An attack that certifies images and estimates N."""
    results.cell("a").block("a", scores=image_scores).cell("s", "span")
    results.block(
        "s",
        scores=lambda seed: (
            image_scores(seed)
            | {"certified": 3 + seed, "false_positives": 1, "samples_estimated": 4, "samples_exact": 1.0}
        ),
    )


def test_certified_images_are_shown_with_their_false_positives(page):
    html = page(certified)
    assert "<th>certified (false positives)</th>" in html
    assert "<td>3.5 (1.0)</td>" in html
    for name in ("certified images", "false positives", "estimated N", "N right"):
        assert f"<th>{name}</th>" in html


def test_no_certificates_are_shown_where_no_attack_has_them(page):
    assert "certified" not in page(whole).split("<h2 id='reading'")[0]


def test_the_report_states_its_provenance(page):
    html = page(whole)
    for text in (
        "<code>abc</code>",
        "<code>f00</code>",
        "<pre>snakemake</pre>",
        "steps = <b>9</b>",
        "id='cell-a'",
    ):
        assert text in html


def test_values_come_with_their_interval_where_there_is_one(page):
    html = page(whole)
    assert "20.5 <span class='ci'>20.0–21.0</span>" in html
    assert "mnist-5k: 97.3 %, tags: none, without classes to tell apart." in html
    assert "What it is." in html


def test_figures_are_shown_by_their_groups(page, tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("label_skill", "effects", "weighting", "reconstructions")]
    for path in paths:
        path.write_bytes(b"\x89PNG not really")
    html = page(whole, figures=paths)
    order = ["figure-reconstructions", "<h3>Settings", "figure-weighting", "figure-effects", "<h3>Labels"]
    places = [html.index(text) for text in [*order, "figure-label_skill"]]
    assert places == sorted(places)
    assert places[0] < html.index("<h2"), "reconstructions are on the first screen"


def test_records_have_a_section_and_a_column_of_the_headline(page):
    def case(results):
        fields = {"field_accuracy": 0.9, "field_accuracy_chance": 0.1}
        results.cell("a").block("a", scores=lambda seed: image_scores(seed) | fields)

    records = {"fields": ["age"], "found": [[41]], "true": [[42]], "right": [[False]]}
    html = page(case, recovered={"a": [image_scores(0) | {"seed": 0, "records": records}]})
    assert "<h2 id='records'>" in html
    assert "<td class='bad'>41 ✗</td><td>42</td>" in html
    assert "<th>fields right</th>" in html.split("<h2")[0]
    assert "<th>by guessing</th>" in html


def test_without_records_there_is_neither(page):
    html = page(whole)
    assert "id='records'" not in html
    assert "<th>fields right</th>" not in html
