"""Bad configuration ends before any job starts, with the path of the key and the nearest valid name."""

import copy
import subprocess
import sys

import pytest
from conftest import TINY

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["targets"]["tiny"].update(batchsize=3),
            "targets.tiny.batchsize: unknown key; did you mean 'batch_size'?",
        ),
        (
            lambda c: c["studies"]["tiny"]["cells"][1].update(wieghting="depth"),
            "studies.tiny.cells[1].wieghting: unknown key; did you mean 'weighting'?",
        ),
        (lambda c: c.update(study="tinny"), "there is no study 'tinny'; did you mean 'tiny'?"),
        (
            lambda c: (
                c["targets"].update(own={"source": "local", "path": "nowhere"})
                or c["studies"]["tiny"]["cells"].append({"attack": "dlg", "target": "own"})
            ),
            "no files in 'nowhere'",
        ),
    ],
)
def test_errors_name_the_place(fresh, change, message):
    config = copy.deepcopy(TINY)
    change(config)
    fresh.configure(config)
    output = fresh.snakemake(ok=False)
    assert message in output
    assert not list((fresh.folder / "results").glob("*"))


@pytest.mark.parametrize("study", ["demo", "smoke", "notebook", "ablation"])
def test_shipped_studies_plan(fresh, study, tmp_path):
    """In a folder of its own, with nothing in it: the workflow and its config are elsewhere."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "--config", f"study={study}"]
    done = subprocess.run(
        [*command, "--snakefile", fresh.folder / "Snakefile", "--directory", folder],
        env=fresh.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    planned = fresh.counted(done.stdout)
    assert planned["sync_mlflow"] == 1
    if study == "ablation":
        assert planned["invert_pixels"] * 8 >= 1000
