"""Tutorials: the files that they show are written, their shell blocks run, the tables are as described."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, TINY, Project, checkout

pytestmark = pytest.mark.workflow

TUTORIALS = ROOT / "docs" / "tutorial"
FILE = re.compile(r"[Ss]ave this as `(?P<name>[\w./-]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.M | re.S)
SHELL = re.compile(r"^```(?:sh|bash)\n(?P<text>.*?)^```$", re.M | re.S)
COLUMNS = re.compile(
    r"^\| (`\w+`(?:, `\w+`)*) \|", re.M
)  # of a table that explains columns of results/tables
NAME = re.compile(r"`(\w+)`")


class Tutorial:
    """One page of docs/tutorial in a copy of the checkout. ``console`` blocks (the set-up) are not run."""

    def __init__(self, page: str, project: Project):
        self.text = (TUTORIALS / page).read_text()
        self.project = project
        self.blocks = [block["text"] for block in SHELL.finditer(self.text)]
        for file in FILE.finditer(self.text):
            (project.folder / file["name"]).write_text(file["text"])

    def run(self, number: int) -> str:
        """Run shell block ``number``, from 0, and return what it prints."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.blocks[number]],
            cwd=self.project.folder,
            env=self.project.environment(),
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, f"{self.blocks[number]}\n{(done.stdout + done.stderr)[-6000:]}"
        return done.stdout + done.stderr

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.project.folder / "results" / "tables" / f"{name}.csv")


def test_every_tutorial_is_run_by_a_test_here():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [page.name for page in TUTORIALS.glob("*.md") if f'"{page.name}"' not in source] == []


def test_first_run(rerun):
    """On a finished run of the same study, which other tests need as well."""
    tutorial = Tutorial("first-run.md", rerun)
    assert yaml.safe_load((rerun.folder / "first.yaml").read_text()) == TINY
    before = rerun.bytes_of("results/tables/*.csv")
    tutorial.run(0)
    assert rerun.bytes_of("results/tables/*.csv") == before
    assert (rerun.folder / "results/report.html").stat().st_size > 10_000
    cells = tutorial.table("cells")
    assert len(cells) == 3, "the cells that the text counts"
    explained = {name for names in COLUMNS.findall(tutorial.text) for name in NAME.findall(names)}
    assert explained <= set(cells.columns)
    assert "nearest_public_psnr" in tutorial.run(1)
    images = cells.set_index("attack").drop("labels")
    leaks = images["psnr"] > images["nearest_public_psnr"]
    assert leaks.to_dict() == {"dlg": True, "latent": False}, "as the text says"
    assert images.loc["dlg", "psnr"] > 30
    planned = tutorial.run(2)
    assert "recover_labels" in planned
    assert "invert_pixels" not in planned, "finished trials are kept"


def with_make(project: Project) -> Project:
    """The Makefile, and this Python in the place of the environment that it would set up."""
    shutil.copy2(ROOT / "Makefile", project.folder)
    folder = project.folder / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (folder / "python").chmod(0o755)
    (folder.parent / ".installed").write_text(str(project.folder), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def audit(tmp_path_factory) -> Tutorial:
    """The audit up to the update of the client."""
    project = with_make(checkout(tmp_path_factory.mktemp("audit") / "project"))
    tutorial = Tutorial("audit-one-update.md", project)
    # The same short searches without the time limit, which a busy machine would reach.
    tutorial.blocks = [block.replace("MINUTES=4", "MINUTES=40") for block in tutorial.blocks]
    module = project.folder / "scripts/gradleak/workflow/audit_config.py"
    module.write_text(module.read_text().replace("QUICK = 5 ", "QUICK = 50 "))
    tutorial.run(0)
    return tutorial


def test_audit_one_update(audit):
    folder = audit.project.folder
    said = audit.run(1)
    assert "Verdict: inputs_recovered. Images: 2. Certified: 2." in said
    page = (folder / "results/report.html").read_text()
    assert page.index("Private images were recovered") < page.index("<nav>"), "the first lines"
    trials = audit.table("trials")
    assert trials["psnr"].isna().all()
    span = trials[(trials["attack"] == "span") & (trials["control"] == "none")]
    assert (span["certified"] == 2).all()
    assert span["expected_psnr"].between(5, 100).all(), "what the update itself says of them"
    assert not (folder / "results/truth").exists()
    (found,) = (folder / "results/inversions" / span["cell"].iloc[0]).glob("*.npz")
    with np.load(found) as arrays:
        assert arrays["images"].shape == (1, 2, 8, 8, 1)
        assert arrays["images"].dtype == np.float32
        assert 0 <= arrays["images"].min() <= arrays["images"].max() <= 1
        assert arrays["accepted"].all()
    attacked = audit.project.bytes_of("results/inversions/*/*.npz", "results/labels/*/*.npz")

    said = audit.run(2)
    assert "inputs_recovered 2 of 2" in said
    assert "certified [" in said
    assert "learning_rate" in said, "the reason why a label method is not applicable"
    assert "no_truth" in said

    audit.run(3)
    verdict = json.loads((folder / "results/tables/verdict.json").read_text())
    assert (verdict["verdict"], verdict["inputs_20db"]) == ("inputs_recovered", 2)
    assert "no_truth" not in verdict["limits"]
    assert all(one.get("certified", 0) == 0 for one in verdict["controls"])
    assert audit.project.bytes_of("results/inversions/*/*.npz", "results/labels/*/*.npz") == attacked

    trials = audit.table("trials")
    trials = trials[trials["control"] == "none"]
    assert set(trials.loc[trials["method"] != "auto", "status"]) == {"ok"}
    assert (trials.loc[trials["method"] == "rank1", "irec"] == 1).all()
    span, dlg = (trials[trials["attack"] == attack] for attack in ("span", "dlg"))
    assert (span["false_positives"] == 0).all()
    assert (span["share_20db"] == 1).all()
    assert dlg["psnr"].min() > 12, "far above noise on two 8×8 images"
    assert dlg["psnr"].max() < span["psnr"].min() - 20, "DLG stays far below"

    plan = audit.run(4)
    assert re.search(r"^invert_pixels +1 ", plan, re.M), "only the added cell"
    assert "invert_span" not in plan, "the members are there"
