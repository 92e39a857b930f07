"""A finished study that is moved, copied without time stamps, or half deleted."""

import os
import random
import shutil
import sqlite3
import stat
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import Project

pytestmark = pytest.mark.workflow


class WithOwnPython(Project):
    """Runs the Python of a virtual environment inside the folder, as ``make`` does."""

    def command(self, *arguments, config="mine.yaml"):
        return [str(self.folder / ".venv/bin/python"), *super().command(*arguments, config=config)[1:]]


@pytest.fixture
def moved(finished, tmp_path):
    """The finished study in a folder with a space and a quote, each file of another time."""
    folder = tmp_path / "a b's" / "project"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copyfile)
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    files = [path for path in folder.rglob("*") if not path.is_symlink()]
    random.Random(0).shuffle(files)
    for at, path in enumerate(files):
        os.utime(path, (1e9 + at, 1e9 + at))
    return WithOwnPython(folder)


def pictures_of(project):
    """Run → the folder of its artifacts, of all runs with pictures or figures."""
    with sqlite3.connect(project.folder / "results/mlflow/mlflow.db") as database:
        rows = database.execute(
            "select r.run_uuid, r.artifact_uri from runs r where r.lifecycle_stage = 'active' and exists "
            "(select 1 from tags t where t.run_uuid = r.run_uuid and (t.key = 'mlflow.loggedImages' "
            "or t.key = 'kind' and t.value = 'study'))"
        ).fetchall()
    return {run: Path(unquote(urlsplit(address).path)) for run, address in rows}


def test_a_moved_copy_without_time_stamps_is_at_rest_and_shows_its_pictures(moved):
    for path in (moved.folder / "scripts").rglob("*"):  # sources that cannot be written
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    assert moved.planned() == {}
    (moved.folder / "results/figures/seeds.png").unlink()
    assert moved.counted(moved.snakemake()) == {"plot": 1, "write_report": 1, "sync_mlflow": 1}
    folders = pictures_of(moved)
    assert len(folders) == 2 * 4 + 2 + 1, "image trials, their cells, the run with the figures"
    for folder in folders.values():
        assert folder.is_relative_to(moved.folder)
        assert list(folder.rglob("*.png"))


def test_missing_files_are_made_again(rerun):
    results = rerun.folder / "results"
    (results / "figures/seeds.png").unlink()
    next((results / "figures/mapping").glob("*.png")).unlink()
    assert rerun.planned() == {"plot": 1, "plot_mapping": 1, "write_report": 1, "sync_mlflow": 1}
    first, second = sorted(path.parent.name for path in (results / "inversions").glob("*/0000-0001.npz"))
    (results / f"inversions/{first}/0000-0001.npz").unlink()
    (results / f"inversions/{second}/0002-0003.json").unlink()  # a record
    (score, *_) = sorted((results / "scores").glob(f"{second}/0000-0001.json"))
    score.unlink()
    planned = rerun.planned()
    attacks_and_scores = ("invert_pixels", "invert_latent", "recover_labels", "score")
    assert {rule: planned.get(rule, 0) for rule in attacks_and_scores} == {
        "invert_pixels": 1,
        "invert_latent": 1,
        "recover_labels": 0,
        "score": 3,
    }
