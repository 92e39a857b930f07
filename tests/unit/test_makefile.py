"""Targets of the Makefile that touch what people have."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.mark.parametrize("linked", [False, True])
def test_clean_empties_results_and_keeps_the_readme(tmp_path, linked):
    """Also where ``results`` is a symbolic link, to a larger disk for example."""
    project, results = tmp_path / "a b", tmp_path / "large disk"
    project.mkdir()
    shutil.copy(MAKEFILE, project)
    if linked:
        results.mkdir()
        (project / "results").symlink_to(results)
    else:
        results = project / "results"
    (results / "tables").mkdir(parents=True)
    (results / "tables/trials.csv").touch()
    (results / "README.md").touch()
    done = subprocess.run(["make", "clean"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in results.rglob("*")] == ["README.md"]
