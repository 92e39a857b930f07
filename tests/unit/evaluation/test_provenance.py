"""What the report says it was made from."""

import hashlib
from pathlib import Path

import pytest

from gradleak.evaluation import provenance
from gradleak.files import write_json


@pytest.fixture
def records(tmp_path):
    for index, host in enumerate(("b", "a", "b")):
        write_json(tmp_path / f"{index}.json", {"environment": {"python": "3", "host": host}})
    return sorted(map(str, tmp_path.glob("*.json")))


def test_hosts_and_versions_come_from_the_records_each_once(records):
    found = provenance.collect(records, [], [], ["demo"])
    assert found.facts["hosts"] == "a, b"
    assert found.facts["versions"] == "python 3"
    assert found.facts["packages"].startswith("requirements.lock, SHA-256 ")


def test_files_are_hashed(records):
    found = provenance.collect(records, records[:1], [], ["demo"])
    assert found.files == {records[0]: hashlib.sha256(Path(records[0]).read_bytes()).hexdigest()}


def test_without_git_the_report_says_so(records, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance.collect(records, [], [], ["demo"])
    assert found.facts["code, git revision"] == "no git repository"


@pytest.mark.parametrize(
    ("studies", "chosen"), [(["demo"], "study=demo"), (["demo", "span"], "study='[demo, span]'")]
)
def test_the_commands_name_the_studies_and_the_figures(studies, chosen):
    whole, figures = provenance.commands(["results/figures/seeds.png"], studies).splitlines()
    assert whole.startswith(f"snakemake --cores 2 --config {chosen} ")
    assert figures == f"snakemake --cores 2 --config {chosen} -- results/figures/seeds.png"
