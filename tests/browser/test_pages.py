"""The two pages that people live in, in a real browser. Screenshots are kept in results/screenshots/."""

import json
import re

import pandas as pd
import pytest
from mlflow import MlflowClient
from screens import SHOTS

from gradleak.evaluation import cell_names, tables

IGNORED = (
    "/mlflow/users/current",
    "/mlflow/assistant/",
)  # MLflow asks for accounts and for its chat assistant; there are none


def wait(browser, what, condition, seconds=90):
    """The first true value of ``condition()``; fails with a screenshot of what there was instead."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        return WebDriverWait(browser, seconds, 0.5, [StaleElementReferenceException]).until(
            lambda _: condition()
        )
    except Exception as error:
        browser.save_screenshot(str(SHOTS / "failed.png"))
        raise AssertionError(f"{what}; see {SHOTS / 'failed.png'}") from error


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def errors(browser):
    """What the page complained of since it was last asked."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and not any(part in entry["message"] for part in IGNORED)
    ]


def drawn(browser):
    """How many pictures of the page have loaded, and how many there are."""
    return browser.execute_script(
        "const all = [...document.images]; "
        "return [all.filter(i => i.complete && i.naturalWidth > 0).length, all.length]"
    )


@pytest.fixture
def cells(study):
    return tables.read(str(study / "tables/cells.csv"))


def test_the_table_of_runs_shows_the_cells_best_first(browser, ui, cells):
    errors(browser)
    browser.get(ui)
    rows = wait(browser, "no rows", lambda: find(browser, ".ag-center-cols-container .ag-row"))
    wait(
        browser,
        "not the study's cells",
        lambda: f"{len(cells)} matching runs" in browser.find_element("tag name", "body").text,
    )
    psnr = wait(
        browser,
        "no PSNR",
        lambda: [
            cell.text
            for cell in find(browser, ".ag-center-cols-container [col-id*='psnr']:not([col-id*='_psnr'])")
        ],
    )
    expected = cells["psnr"].dropna().sort_values(ascending=False)
    shown = [float(text) for text in psnr if re.fullmatch(r"[\d.]+", text)]
    assert len(shown) >= 4
    assert shown == pytest.approx(expected.to_list()[: len(shown)], rel=1e-5)
    assert {"Run Name", "psnr", "share_20db", "irec"} <= {
        head.text for head in find(browser, ".ag-header-cell")
    }
    assert rows
    browser.save_screenshot(str(SHOTS / "mlflow-runs.png"))
    assert errors(browser) == []


@pytest.mark.parametrize(
    ("name", "best", "first"),
    [("labels_only", "irec", "labels, idlg"), ("no_truth", "expected_psnr", "span, rounds 6")],
)
def test_a_study_without_psnr_is_sorted_by_what_it_has(browser, ui, name, best, first):
    base = ui.split("/#")[0]
    experiment = MlflowClient(base).get_experiment_by_name(f"gradleak/{name}")
    if experiment is None:
        pytest.skip("results/ holds a study of its own: move it away to test the others")
    browser.get("about:blank")
    browser.get(f"{base}/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=gradleak")
    names = wait(
        browser,
        "no runs",
        lambda: [a.text for a in find(browser, ".ag-pinned-left-cols-container a") if a.text],
    )
    assert names[0] == first
    assert f"Sort: {best}" in browser.find_element("tag name", "body").text
    browser.save_screenshot(str(SHOTS / f"mlflow-{name}.png"))
    assert errors(browser) == []


def test_the_charts_and_the_image_grid_are_there_at_once(browser, ui, cells):
    browser.get("about:blank")
    browser.get(ui + "&compareRunsMode=CHART")
    wait(browser, "no charts", lambda: len(find(browser, ".js-plotly-plot")) >= 3)
    wait(
        browser,
        "no image grid",
        lambda: (
            len([i for i in find(browser, "img") if "reconstructions" in (i.get_attribute("src") or "")]) >= 4
        ),
    )
    wait(browser, "images not loaded", lambda: drawn(browser)[0] >= 4)
    best = [f"{value:.2f}" for value in cells["psnr"].sort_values(ascending=False)[:4]]
    wait(
        browser,
        f"bars without {best}",
        lambda: all(value in browser.find_element("tag name", "body").text for value in best),
    )
    browser.save_screenshot(str(SHOTS / "mlflow-charts.png"))
    assert errors(browser) == []


def test_runs_are_compared_with_their_values(browser, ui, cells):
    browser.get("about:blank")
    browser.get(ui)
    links = wait(
        browser,
        "no runs",
        lambda: [
            a.get_attribute("href")
            for a in find(browser, ".ag-pinned-left-cols-container a")
            if "/runs/" in a.get_attribute("href")
        ],
    )
    ids = [re.search(r"/runs/(\w+)", link).group(1) for link in links][:4]
    experiment = re.search(r"experiments/(\d+)", ui).group(1)
    browser.get(
        f"{ui.split('#')[0]}#/compare-runs?runs={json.dumps(ids, separators=(',', ':'))}"
        f"&experiments=[%22{experiment}%22]"
    )
    wait(
        browser, "no comparison", lambda: "Comparing 4 Runs" in browser.find_element("tag name", "body").text
    )
    wait(browser, "no chart", lambda: find(browser, ".js-plotly-plot"))
    four = cells.sort_values("psnr", ascending=False)[:4]
    shown = wait(
        browser,
        "no details",
        lambda: (text := browser.find_element("tag name", "body").text).count("Run details") and text,
    )
    # The tables below are drawn as far as they can be seen; PSNR is checked on the bars.
    details = shown.split("Run details")[1].split("Parameters", 1)[0]
    names = cell_names.short_names(cells.to_dict("records"), 40)
    for at in four.index:
        assert names[at] in details
    browser.save_screenshot(str(SHOTS / "mlflow-compare.png"))
    assert errors(browser) == []


def test_the_studys_figures_are_a_click_from_the_experiment(browser, ui):
    client = MlflowClient(ui.split("/#")[0])
    experiment = re.search(r"experiments/(\d+)", ui).group(1)
    (run,) = client.search_runs([experiment], "tags.kind = 'study'")
    link = re.search(
        r"Figures and tables\]\((#.*)\)", client.get_experiment(experiment).tags["mlflow.note.content"]
    ).group(1)
    assert run.info.run_id in link
    names = [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
    assert "figures/psnr_by_batch_size.png" in names
    browser.get("about:blank")
    browser.get(f"{ui.split('#')[0]}{link}/figures/psnr_by_batch_size.png")
    wait(
        browser,
        "no figure",
        lambda: [i for i in find(browser, "img") if (i.get_attribute("src") or "").startswith("blob:")],
    )
    wait(browser, "figure not loaded", lambda: drawn(browser)[0] >= 1)
    browser.save_screenshot(str(SHOTS / "mlflow-figures.png"))
    assert errors(browser) == []


def test_the_report_loads_whole_and_its_tables_are_the_csv(browser, study, cells):
    errors(browser)
    browser.get((study / "report.html").absolute().as_uri())
    loaded, all_of_them = wait(browser, "no figures", lambda: drawn(browser))
    assert loaded == all_of_them >= 8
    assert errors(browser) == []
    headline = pd.read_csv(study / "tables/headline.csv")
    rows = [
        [cell.text for cell in row.find_elements("tag name", "td")]
        for row in find(browser, "#headline tbody tr")
    ]
    assert len(rows) == len(headline)
    for _, want in headline.iterrows():
        (row,) = [r for r in rows if r[0] == want["attack"] and r[1] == f"{want['batch_size']:g}"]
        for text, name, digits in zip(
            row[3:7], ("share_20db", "psnr", "ssim", "irec"), (2, 1, 3, 2), strict=True
        ):
            assert text.split()[0] == ("–" if pd.isna(want[name]) else f"{want[name]:.{digits}f}")
            if pd.notna(want[f"{name}_low"]):
                assert (
                    text.split()[1] == f"{want[f'{name}_low']:.{digits}f}–{want[f'{name}_high']:.{digits}f}"
                )
    for _, cell in cells.iterrows():
        (row,) = find(browser, f"#cell-{cell['cell']}")
        value, digits = (cell["irec"], 2) if cell["attack"] == "labels" else (cell["psnr"], 1)
        assert pd.isna(value) or f"{value:.{digits}f}" in row.text
    assert len(find(browser, "#effect-table tbody tr")) > 0
    browser.save_screenshot(str(SHOTS / "report.png"))


def test_the_first_screen_holds_headline_worst_leak_and_worst_failure(browser, study):
    browser.get((study / "report.html").absolute().as_uri())
    bottoms = browser.execute_script(
        "return [...document.querySelectorAll('#headline, .note')].slice(0, 3)"
        ".map(e => e.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) >= 2
    assert max(bottoms) < browser.execute_script("return window.innerHeight")
    notes = [note.text for note in find(browser, ".note")]
    assert notes[0].startswith("Worst leak:")
    assert notes[1].startswith(("Worst failure:", "Not ok:"))
