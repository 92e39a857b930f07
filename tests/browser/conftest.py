"""A real Chromium, and a finished study: the one in results/ if there is one, else a small synthetic one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from screens import ROOT, SHOTS

sys.path.append(str(ROOT / "tests" / "unit"))  # results.py and syncing.py
INSTALL = "apt-get install chromium chromium-driver"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1200",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip(f"no Chromium: {INSTALL}")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    driver.set_page_load_timeout(120)
    SHOTS.mkdir(parents=True, exist_ok=True)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The folder of a finished study."""
    if all(
        (ROOT / "results" / name).exists()
        for name in ("report.html", "tables/headline.csv", "mlflow/synced.json")
    ):
        return ROOT / "results"
    return _made_up(tmp_path_factory.mktemp("study") / "results")


def _made_up(folder):
    """Files as the stages write them, then tables, figures, report and MLflow by the real code."""
    import numpy as np
    import studies
    import syncing
    from results import Results, image_scores, interval_scores, label_scores

    from gradleak.evaluation import report
    from gradleak.evaluation.figures import mapping, registry, style
    from gradleak.evaluation.provenance import Provenance
    from gradleak.tracking import stores

    made = Results(folder / "tables")
    made.cell("a").cell("b", weighting="depth").cell("c", **{"target.batch_size": 1}).cell(
        "d", control="random_gradient"
    )
    made.cell("e", "latent", prior="vae").cell("f", "span")
    for at, name in enumerate(made.cells):
        certified = (
            {"certified": 3, "false_positives": 0, "samples_estimated": 4, "samples_exact": 1.0}
            if name == "f"
            else {}
        )
        made.block(
            name,
            (0, 1, 2, 3),
            lambda seed, at=at, own=certified: image_scores(seed) | {"psnr": 12.25 + 2 * at + seed} | own,
        )
    made.block("b", (0, 1, 2, 3), image_scores, {1: "diverged"}, "no finite objective")
    for method, scores in {
        "rank1": label_scores,
        "uniform": label_scores,
        "posterior": interval_scores,
    }.items():
        made.cell(method, "labels", method=method).block(method, (0, 1, 2, 3), scores)
    frames = made.frames()
    drawn = [folder / "figures" / f"{name}.png" for name in registry.FIGURES]
    for path in drawn:
        style.save(studies.drawn(path.stem, made), path)
    one = mapping.mapping(
        {"tensors": [{"variable": "a/kernel", "norm": 1.0}]},
        {"a/kernel": np.array([[3.0, 1.0]])},
        {"a/kernel": np.array([1e-6])},
    )
    style.save(one, folder / "figures" / "mapping" / "demo_0000-0003.png")
    page = report.render(
        report.Report(
            **{name: frames[name] for name in ("cells", "trials", "headline", "effects")},
            figures=drawn,
            mappings={},
            mapping_figures=[folder / "figures" / "mapping" / "demo_0000-0003.png"],
            prior_figures=[],
            recovered={},
            reference_accuracy={"digits-8x8": 0.97},
            descriptions={"demo": "Made up for the test."},
            settings=made.cells,
            provenance=Provenance({}, "", {}),
        )
    )
    (folder / "report.html").write_text(page)
    uri = f"sqlite:///{folder}/mlflow/mlflow.db"
    (folder / "mlflow").mkdir()
    stores.create_schema(uri)
    made.shown = [*drawn, made.folder / "headline.csv"]
    syncing.sync(uri, made)
    _others(folder / "others", uri)
    return folder


def _others(folder, uri):
    """A study of labels only, and one without true images."""
    import syncing
    from results import Results, label_scores

    made = Results(folder)
    for at, method in enumerate(("uniform", "rank1", "idlg")):
        made.cell(method, "labels", method=method)
        made.block(method, (0, 1), lambda seed, at=at: label_scores(seed) | {"irec": 0.3 + 0.3 * at})
    for at, rounds in enumerate((2, 6)):
        made.cell(f"span{rounds}", "span", rounds=rounds)
        made.block(
            f"span{rounds}", (0, 1), lambda seed, at=at: {"expected_psnr": 30.0 + at, "certified": 1.0 + at}
        )
    made.frames(labels_only=["uniform", "rank1", "idlg"], no_truth=["span2", "span6"])
    syncing.sync(uri, made)


@pytest.fixture(scope="session")
def ui(study):
    """`make ui` on the study: its link, as it prints it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [
        sys.executable,
        str(ROOT / "scripts/open_ui.py"),
        "--uri",
        f"sqlite:///{study}/mlflow/mlflow.db",
        "--port",
        port,
    ]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        link = server.stdout.readline().split(": ", 1)[1].strip()
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield link
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
