"""What runs again, and what does not: each promise by a run of Snakemake."""

import ast
import copy
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pandas as pd
import pytest
from conftest import TINY

pytestmark = pytest.mark.workflow
TRIALS = "results/tables/trials.csv"
AGGREGATES = {"summarise": 1, "plot": 11, "write_report": 1, "sync_mlflow": 1}


def test_every_trial_is_ok_and_in_mlflow_once(finished):
    trials = pd.read_csv(finished.folder / TRIALS)
    assert len(trials) == 3 * 4
    assert set(trials["status"]) == {"ok"}
    assert trials.loc[trials["attack"] == "dlg", "psnr"].notna().all()
    with sqlite3.connect(finished.folder / "results/mlflow/mlflow.db") as database:
        runs = database.execute(
            "select r.status, count(*) from runs r join tags t on t.run_uuid = r.run_uuid "
            "where t.key = 'kind' and t.value = 'trial' group by r.status"
        ).fetchall()
        figures = database.execute(
            "select count(*) from tags where key = 'kind' and value = 'study'"
        ).fetchone()
    assert runs == [("FINISHED", len(trials))]
    assert figures == (1,)
    kept = {
        path.name
        for path in (finished.folder / "results/mlflow/artifacts/tiny").glob("*/artifacts/figures/*.png")
    }
    assert kept == {path.name for path in (finished.folder / "results/figures").glob("*.png")}
    assert (finished.folder / "results/report.html").stat().st_size > 10_000


def test_snakemakes_own_report_holds_figures_tables_and_captions(rerun):
    rerun.snakemake("--report", "results/snakemake-report.html")
    page = (rerun.folder / "results/snakemake-report.html").read_text()
    for expected in ("Figures", "Tables", "Mapping", "Priors", "95 % bootstrap"):
        assert expected in page


@pytest.fixture
def latin_1(tmp_path):
    """Variables of a locale that is not UTF-8, made here."""
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "en_US.ISO-8859-1")]
    if shutil.which("localedef") is None or subprocess.run(command, capture_output=True).returncode > 1:
        pytest.skip("needs Debian's locales: apt-get install locales")
    return {"LOCPATH": str(tmp_path), "LC_ALL": "en_US.ISO-8859-1"}


def test_nothing_runs_again_under_another_locale(rerun, latin_1, monkeypatch):
    for name, value in latin_1.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", "import locale; print(locale.getpreferredencoding())"]
    used = subprocess.run(command, capture_output=True, text=True, env=rerun.environment()).stdout
    assert used.strip() == "ISO-8859-1", "else this tests nothing"
    assert rerun.planned() == {}
    (rerun.folder / "results/report.html").unlink()
    rerun.snakemake()
    assert not (rerun.folder / "results/report.html").read_text(encoding="utf-8").isascii()


def test_adding_seeds_runs_exactly_the_new_block_and_the_aggregates(rerun):
    config = copy.deepcopy(TINY)
    config["studies"]["tiny"]["seeds"] = 6
    rerun.configure(config)
    assert rerun.planned() == {
        "recover_labels": 1,
        "invert_pixels": 1,
        "invert_latent": 1,
        "score": 3,
        **AGGREGATES,
    }


def test_adding_an_axis_value_runs_exactly_the_new_cell(rerun):
    config = copy.deepcopy(TINY)
    config["studies"]["tiny"]["cells"][1]["axes"] = {"weighting": ["uniform", "depth"]}
    rerun.configure(config)
    assert rerun.planned() == {"invert_pixels": 2, "score": 2, "list_cells": 1, **AGGREGATES}


def test_members_of_a_label_cell_run_the_span_cell_first(rerun):
    config = copy.deepcopy(TINY)
    config["studies"]["tiny"]["cells"][0]["axes"] = {"members": [None, {"starts": 8}]}
    rerun.configure(config)
    assert rerun.planned() == {
        "invert_span": 2,
        "extract_member_features": 2,
        "recover_labels": 2,
        "score": 2,
        "list_cells": 1,
        **AGGREGATES,
    }


def test_editing_an_attack_reruns_its_cells_only(rerun):
    path = rerun.folder / "scripts/gradleak/attacks/matching/latent.py"
    path.write_text(path.read_text().replace("codes = [", "_edited = 1\n    codes = [", 1))
    assert rerun.planned() == {"invert_latent": 2, "score": 2, **AGGREGATES}


def test_editing_the_engine_reruns_the_inversions_only(rerun):
    path = rerun.folder / "scripts/gradleak/optim/minimise.py"
    path.write_text(path.read_text() + "\n_EDITED = 1\n")
    assert set(rerun.planned()) == {"invert_pixels", "invert_latent", "score_prior", "score", *AGGREGATES}


def test_a_comment_reruns_nothing(rerun):
    path = rerun.folder / "scripts/gradleak/attacks/matching/latent.py"
    path.write_text(path.read_text() + "\n# a remark\n")
    assert rerun.planned() == {}


def test_changing_the_plot_style_redraws_plots_and_shows_them_everywhere(rerun):
    """Report and MLflow hold copies of the figures. The sync then replaces one run and reads no record."""
    path = rerun.folder / "scripts/gradleak/evaluation/figures/style.py"
    path.write_text(path.read_text().replace('"font.size": 9', '"font.size": 10'))
    planned = rerun.planned()
    assert set(planned) == {"plot", "plot_mapping", "plot_prior", "write_report", "sync_mlflow"}


def test_rewording_the_prospects_reruns_what_shows_them(rerun):
    """``mapping/preflight.py`` states what each attack can expect. No attack reads it."""
    path = rerun.folder / "scripts/gradleak/mapping/preflight.py"
    source = path.read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    path.write_text(source.replace(docstring, "Another docstring.", 1))
    assert rerun.planned() == {}
    sentence = max(sentences(source), key=len)
    path.write_text(source.replace(sentence, "Another sentence for people", 1))
    assert rerun.planned() == {"assess_prospects": 1, "write_report": 1}


def test_rewording_a_message_reruns_no_attack_and_no_simulation(rerun):
    for name in ("mapping/sign.py", "mapping/classifier.py", "artifacts/roles.py", "labels/methods/ilrg.py"):
        path = rerun.folder / "scripts/gradleak" / name
        source = path.read_text()
        path.write_text(source.replace(max(sentences(source), key=len), "Another sentence for people", 1))
    assert rerun.planned() == {}


def test_an_edit_of_the_reader_of_untrusted_files_reruns_nothing_of_simulated_targets(rerun):
    path = rerun.folder / "scripts/gradleak/artifacts/roles.py"
    path.write_text(path.read_text() + "\n_EDITED = 1\n")
    assert rerun.planned() == {}


def test_editing_a_label_method_reruns_its_own_cells(rerun):
    """And the attacks that use its labels: ``rank1`` is the default of both."""
    attacks = {"invert_pixels": 2, "invert_latent": 2, "score": 6}
    for name, planned in (("rlu", {}), ("rank1", {"recover_labels": 2, **attacks, **AGGREGATES})):
        path = rerun.folder / f"scripts/gradleak/labels/methods/{name}.py"
        path.write_text(path.read_text() + "\n_EDITED = 1\n")
        assert rerun.planned() == planned


def test_editing_the_joint_fit_reruns_span_cells_only(rerun):
    config = copy.deepcopy(TINY)
    small = {
        "starts": 2,
        "rays": 1,
        "ray_starts": 1,
        "ray_steps": 1,
        "steps": 1,
        "polish_steps": 1,
        "copies": 1,
    }
    config["studies"]["tiny"]["seeds"] = 2
    config["studies"]["tiny"]["cells"] += [{"attack": "span", "target": "tiny", "rounds": 1, **small}]
    rerun.configure(config)
    ran = rerun.counted(rerun.snakemake("--until", "invert_span"))
    assert ran == {"invert_span": 1}
    before = rerun.planned()
    assert not {rule for rule in before if rule.startswith("invert_")}
    path = rerun.folder / "scripts/gradleak/attacks/span/joint_fit.py"
    path.write_text(path.read_text() + "\n_EDITED = 1\n")
    assert rerun.planned() == {**before, "invert_span": 1}, "no other attack"


def test_rewording_a_caption_redraws_its_figure(rerun):
    path = rerun.folder / "scripts/gradleak/evaluation/figures/registry.py"
    source = path.read_text()
    caption = next(text for text in sentences(source) if "objective" in text)
    path.write_text(source.replace(caption, "Another caption for this figure.", 1))
    assert rerun.planned() == {"plot": 1, "write_report": 1, "sync_mlflow": 1}


def sentences(source):
    """The plain string literals of some source that hold sentences, docstrings apart."""
    tree = ast.parse(source)
    kept = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in kept | parts
    ]
    return [text for text in found if text.count(" ") >= 3 and source.count(text) == 1]


def test_a_lost_database_is_rebuilt(rerun):
    (rerun.folder / "results/mlflow/mlflow.db").unlink()
    assert rerun.counted(rerun.snakemake()) == {"create_database": 1, "sync_mlflow": 1}
    with sqlite3.connect(rerun.folder / "results/mlflow/mlflow.db") as database:
        (count,) = database.execute(
            "select count(*) from tags where key = 'kind' and value = 'trial'"
        ).fetchone()
    assert count == 12
    assert rerun.planned() == {}

    rerun.configure({**TINY, "tracking": {"uri": "nowhere://me:geheim@team/mlflow"}}, "secret.yaml")
    output = rerun.snakemake("--no-hooks", config="secret.yaml", ok=False)
    assert "nowhere://me:***@team/mlflow" in output
    (rerun.folder / "secret.yaml").unlink()
    files = [path for path in rerun.folder.rglob("*") if path.is_file()]
    assert "geheim" not in output
    assert [path for path in files if b"geheim" in path.read_bytes()] == [], "passwords are not kept"


def test_scrambled_truth_changes_no_attack_output(rerun):
    attacks = ("results/inversions/*/0000-0001.npz", "results/labels/*/0000-0001.npz")  # one block of each
    before = rerun.bytes_of(*attacks)
    assert len(before) == 3
    for path in (rerun.folder / "results/truth").rglob("*.npz"):
        path.write_bytes(bytes(reversed(path.read_bytes())))
    for path in before:
        (rerun.folder / path).unlink()
    rerun.snakemake("--rerun-triggers", "params", "--", *before)
    assert rerun.arrays_unlike(before, *attacks) == []


def test_killed_and_started_again_ends_in_the_same_numbers(finished, rerun):
    """SIGKILL of the whole process group while attacks are running."""
    for done in ("inversions", "labels", "scores", "tables", "logs"):
        shutil.rmtree(rerun.folder / "results" / done)
    process = subprocess.Popen(
        rerun.command("-q", "all", "--", TRIALS),
        cwd=rerun.folder,
        env=rerun.environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    logs = rerun.folder / "results/logs"
    deadline = time.monotonic() + 300
    while not any("step" in log.read_text() for log in logs.glob("invert_*/*/*.log")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no attack started"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (rerun.folder / TRIALS).exists()
    rerun.snakemake("--", TRIALS)
    outputs = ("results/inversions/*/*.npz", "results/labels/*/*.npz")
    assert rerun.arrays_unlike(finished.bytes_of(*outputs), *outputs) == []
    columns = ["cell", "seed", "status", "objective", "psnr", "ssim", "irec"]
    tables = [pd.read_csv(p.folder / TRIALS)[columns] for p in (rerun, finished)]
    pd.testing.assert_frame_equal(*tables)
    assert rerun.planned("--", TRIALS) == {}
