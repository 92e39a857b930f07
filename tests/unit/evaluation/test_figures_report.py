"""Figures and the report, from small tables with all that can be missing."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from results import image_scores, interval_scores, label_scores

from gradleak.evaluation import figures, report
from gradleak.files import read_json, read_npz


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def whole(results):
    """Two sizes, two weightings, a control, an oracle, a latent attack and labels, all well."""
    results.cell("a").cell("b", weighting="depth").cell("c", **{"target.batch_size": 1})
    results.cell("d", control="random_gradient").cell("e", labels="oracle").cell("f", "latent", prior="vae")
    for name in results.cells:
        results.block(name, scores=image_scores)
    for method in ("rank1", "uniform"):
        results.cell(method, "labels", method=method).block(method, scores=label_scores)
    results.cell("posterior", "labels", method="posterior").block("posterior", scores=interval_scores)


def failed(results):
    """One cell whose trials all failed, one in which one did, and a label method that was not applicable."""
    results.cell("a").cell("b", weighting="depth").cell("rank1", "labels", method="rank1")
    results.block("a", (0, 1), image_scores, {0: "diverged", 1: "diverged"}, "no finite objective")
    results.block("b", (0, 1), image_scores, {0: "diverged"}, "no finite objective")
    results.block("rank1", (0, 1), label_scores, {0: "not applicable", 1: "not applicable"}, "no bias")


def nothing(results):
    """Every trial failed."""
    results.cell("a").cell("rank1", "labels", method="rank1")
    results.block("a", (0, 1), image_scores, {0: "diverged", 1: "diverged"}, "no finite objective")
    results.block("rank1", (0,), label_scores, {0: "not applicable"}, "no bias")


def blind(results):
    """A foreign leak: no truth, and nobody says how many images there were."""
    results.cell("a", **{"target.batch_size": None}).block("a", scores=lambda seed: {"counts": [4] + [0] * 9})
    results.cell("rank1", "labels", method="rank1", **{"target.batch_size": None})
    results.block("rank1", scores=lambda seed: {"counts": [4] + [0] * 9})
    for block in results.blocks:
        data = read_npz(block["pairs"])
        np.savez(block["pairs"], **data | {"truth": data["truth"][:, :0], "psnr": data["psnr"][:, :0]})


def single(results):
    """One cell, one seed, one draw: no interval anywhere."""
    results.cell("a").block("a", (0,), image_scores)
    results.cell("rank1", "labels", method="rank1").block("rank1", (0,), label_scores)


def foreign(results):
    """Truth given, size not: it comes from the truth. And one whose attack used another number of dummies."""
    results.cell("a", **{"target.batch_size": None}).block("a", scores=image_scores)
    results.cell("b", **{"target.batch_size": None, "dummy_batch": 2})
    results.block("b", scores=lambda seed: {"psnr": 9.0, "share_20db": 0.0})
    results.cell("rank1", "labels", method="rank1", **{"target.batch_size": None}).block(
        "rank1", scores=label_scores
    )


CASES = [whole, failed, nothing, blind, single, foreign]


def inputs(results):
    images = [b for b in results.blocks if results.cells[b["cell"]]["attack"] != "labels"]
    pairs = {b["cell"]: partial(read_npz, b["pairs"]) for b in images}
    records = {b["cell"]: partial(read_json, b["record"]) for b in images}
    return results.frames(), pairs, records


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_draws_whatever_is_missing(results, case, name, tmp_path):
    case(results)
    figure = figures.FIGURES[name](*inputs(results))
    assert isinstance(figure, Figure)
    figures.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_with_data_is_not_the_empty_one(results, name):
    whole(results)
    figure = figures.FIGURES[name](*inputs(results))
    shown = sum(
        len(axis.lines) + len(axis.patches) + len(axis.images) + len(axis.collections) + len(axis.texts)
        for axis in figure.axes
    )
    assert shown > 2


def test_psnr_is_drawn_at_its_value_and_size(results):
    whole(results)
    figure = figures.psnr_by_batch_size(*inputs(results))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "4"]
    drawn = [y for line in axis.lines for y in np.atleast_1d(line.get_ydata())]
    assert 20.5 in drawn


def test_lines_join_cells_that_differ_in_nothing_but_the_size(results):
    for name, changed in {"a": {}, "b": {"target.batch_size": 8}, "c": {"target.clients": 2}}.items():
        results.cell(name, "span", **{"target.clients": 1} | changed).block(name, scores=image_scores)
    (axis,) = figures.psnr_by_batch_size(*inputs(results)).axes
    (line,) = (
        handle
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        if label.startswith("span")
    )
    assert len(line.lines[0].get_xdata()) == 2


def test_the_share_of_images_is_drawn_against_every_setting_of_the_update(results):
    for name, changed in {"a": {}, "b": {"target.batch_size": 8}, "c": {"target.clients": 2}}.items():
        results.cell(name, "span", **{"target.clients": 1} | changed).block(name, scores=image_scores)
    panels = {
        axis.get_xlabel(): axis for axis in figures.recovery(*inputs(results)).axes if axis.get_xlabel()
    }
    assert {name: [tick.get_text() for tick in axis.get_xticklabels()] for name, axis in panels.items()} == {
        "images in the update, N": ["4", "8"],
        "clients": ["1", "2"],
    }
    assert all(0.75 in axis.lines[0].get_ydata() for axis in panels.values())


def test_a_cell_that_accepted_nothing_says_so_in_the_picture(results):
    whole(results)
    frames, pairs, records = inputs(results)
    first, *others = pairs
    nothing = {key: array[:, :0] if array.ndim > 1 else 0 * array for key, array in pairs[first]().items()}
    figure = figures.reconstructions(
        frames, {first: lambda: nothing} | {c: pairs[c] for c in others}, records
    )
    said = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert said.count("nothing: no image was accepted") == 1
    assert not any(
        "nothing" in t.get_text() for a in figures.reconstructions(*inputs(results)).axes for t in a.texts
    )


def test_figures_are_the_same_bytes_every_time(results, tmp_path):
    whole(results)
    for name in ("one.png", "two.png"):
        figures.save(figures.weighting(*inputs(results)), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_figure_that_fails_leaves_no_file(tmp_path, monkeypatch):
    figure = plt.figure()
    monkeypatch.setattr(figure, "savefig", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dense", [True, False])
def test_the_mapping_figure_draws_with_and_without_dense_layers(tmp_path, dense):
    found = {"tensors": [{"variable": "a/kernel", "norm": 1.0}, {"variable": "a/bias", "norm": 0.0}]}
    singular = {"a/kernel": np.array([[3.0, 1.0, 0.0], [2.0, 1.0, 1e-9]])} if dense else {}
    figures.save(
        figures.mapping(found, singular, {"a/kernel": np.array([1e-6, 1e-6])}), tmp_path / "mapping.png"
    )
    assert (tmp_path / "mapping.png").stat().st_size > 1000


@pytest.mark.parametrize("held", [1, 4, 8, 16])
def test_the_vae_panel_draws_with_few_images(tmp_path, held, rng):
    history = [{"epoch": e, "elbo": -30.0 + e, "held_out_elbo": -31.0 + e} for e in (1, 2, 3)]
    images = rng.uniform(0, 1, (held, 8, 8, 1)).astype(np.float32)
    figures.save(figures.vae_panel(history, images, images, images, 2), tmp_path / "vae.png")
    assert (tmp_path / "vae.png").stat().st_size > 1000


# --- the report -----------------------------------------------------------------------------------------------------

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
        arguments = {
            "figures": [picture],
            "mappings": {"demo": FOUND},
            "mapping_figures": [picture],
            "prior_figures": [picture],
            "reference": {"mnist-5k": 0.973},
            "descriptions": {"demo": "What it is."},
            "settings": results.cells,
            "provenance": {
                "facts": {"git": "abc"},
                "files": {"results/tables/cells.csv": "f00"},
                "commands": "snakemake",
            },
        }
        return report.render(
            *(frames[name] for name in ("cells", "trials", "headline", "effects")), **arguments | changes
        )

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
    html = page(evil, mappings={EVIL: FOUND}, descriptions={"demo": EVIL}, reference={EVIL: 0.5})
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


def test_the_report_is_silent_when_none_failed(page):
    html = page(whole)
    assert "Not ok" not in html
    assert "<tr class='bad'" not in html


def test_the_report_says_when_there_was_no_truth(page):
    assert "No truth was given" in page(blind)


def certified(results):
    """An attack that vouches for its images, and knows how many there are."""
    results.cell("a").block("a", scores=image_scores).cell("s", "span")
    results.block(
        "s",
        scores=lambda seed: (
            image_scores(seed)
            | {"certified": 3 + seed, "false_positives": 1, "samples_estimated": 4, "samples_exact": 1.0}
        ),
    )


def test_certified_images_are_shown_with_those_that_are_wrong(page):
    html = page(certified)
    assert "<th>certified</th>" in html
    assert "<td>3.5 (1.0 wrong)</td>" in html
    for name in ("certified images", "of them wrong", "N by certificates", "N right"):
        assert f"<th>{name}</th>" in html


def test_nothing_of_certificates_is_shown_where_no_attack_has_them(page):
    assert "certified" not in page(whole).split("<h2 id='reading'")[0]


def test_the_report_says_where_it_comes_from(page):
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
    assert "97.3 %" in html
    assert "What it is." in html


def test_weightings_are_compared_under_the_same_conditions_only():
    cells = pd.DataFrame(
        {
            "target": "t",
            "batch_size": [1, 1, 1, 8, 8],
            "labels": ["joint", "recovered", "recovered", "recovered", "recovered"],
            "weighting": ["uniform", "uniform", "depth", "uniform", "depth"],
            "param.target.batch_size": [1, 1, 1, 8, 8],
            "param.prior": pd.Series([None] * 5, dtype="str"),
        }
    )
    kept = figures._comparable(cells, "weighting")
    assert kept.index.tolist() == [1, 2, 3, 4], (
        "a strategy that only one weighting was run with would bias its bar"
    )
