"""The dry run for people: what runs, why, and how long by the past."""

import pytest

from gradleak.workflow import forecast
from gradleak.workflow.forecast import Job

DRY_RUN = """
job              count
---------------  -------
invert_pixels          2
total                  3


[Wed Nov 25 11:58:43 2026]
localrule list_cells:
    output: results/cells.csv
    jobid: 1
    reason: Missing output files: results/cells.csv
    resources: tmpdir=/tmp

rule invert_pixels:
    input: results/mapping/5f3126bc85/0000-0007/gradients.npz
    output: results/inversions/51f429c141/0004-0005.npz, results/inversions/51f429c141/0004-0005.json
    jobid: 30
    reason: Missing output files: results/inversions/51f429c141/0004-0005.json; Input files updated by another
    wildcards: cell=51f429c141, block=0004-0005
    resources: tmpdir=/tmp, mem_mb=4000

rule invert_pixels:
    jobid: 31
    reason: Params have changed since last execution
    wildcards: cell=aaaaaaaaaa, block=0000-0005

localrule all:
    input: results/cells.csv
    reason: Input files updated by another job: results/cells.csv
"""


def test_jobs_and_their_reasons_are_read():
    assert forecast.jobs_of(DRY_RUN) == [
        Job("list_cells", "", "not there yet"),
        Job("invert_pixels", "51f429c141", "not there yet"),
        Job("invert_pixels", "aaaaaaaaaa", "parameters or code changed"),
    ]
    assert forecast.jobs_of("Nothing to be done (all requested files are present and up to date).") == []


@pytest.fixture
def past(tmp_path):
    for name, seconds in (
        ("invert_pixels/51f429c141/0000-0003", 10),
        ("invert_pixels/bbbbbbbbbb/0000-0003", 30),
    ):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:00:10\t9\n")
    return tmp_path


def test_a_job_takes_what_its_cell_took_else_what_its_rule_took(past):
    known = forecast.Past(past)
    assert known.seconds(Job("invert_pixels", "51f429c141", "")) == 10
    assert known.seconds(Job("invert_pixels", "aaaaaaaaaa", "")) == 20
    assert known.seconds(Job("score", "51f429c141", "")) is None


@pytest.mark.parametrize(
    ("arguments", "at_once", "given"),
    [
        ([], 1, ["--cores", "1"]),
        (
            ["--cores=4", "--quiet", "rules", "--config", "study=x"],
            4,
            ["--config", "study=x", "--cores", "4"],
        ),
        (["-q", "--jobs", "3"], 3, ["--jobs", "3"]),
        (["-c", "2", "all"], 2, ["all", "--cores", "2"]),
        (["--profile", "profiles/slurm"], 1, ["--profile", "profiles/slurm"]),
    ],
)
def test_arguments_of_snakemake_are_understood(arguments, at_once, given):
    assert forecast.settings(arguments) == (at_once, given)


def test_an_error_of_the_dry_run_is_shown(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").write_text("raise WorkflowError('there is no such study')\n")
    with pytest.raises(SystemExit):
        forecast.main(["--quiet"])
    assert "there is no such study" in capsys.readouterr().err


def test_the_page(past):
    page = forecast.text_of("Study x: 2 cells", forecast.jobs_of(DRY_RUN), past, 2)
    assert page.startswith("Study x: 2 cells")
    assert "not there yet: 1, parameters or code changed: 1" in page
    assert "3 jobs. By the benchmark files of past jobs they take 0.01 hours" in page
    assert "Not counted: 1 jobs" in page
    assert "A job of invert_pixels takes about 15 s" in page
    assert "Nothing to do" in forecast.text_of("Study x", [], past, 2)
