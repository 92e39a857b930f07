"""Every hostile or broken input ends the real script with a reason. It runs no code and leaves no file."""

import re
import warnings
from pathlib import Path

import corpus
import pytest
from sandbox import Sandbox

GIGABYTE = 1 << 20  # in kB


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


def place(folder, changes):
    folder.mkdir()
    for name, content in {**corpus.good(), **changes}.items():
        if content is not None:
            (folder / name).write_bytes(content() if callable(content) else content)
    return folder


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # zipfile's, on the duplicates that are meant
    NAMES = list(corpus.corpus(Path("/nowhere/it-ran")))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    marker = tmp_path_factory.mktemp("payload") / "it-ran"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return marker, corpus.corpus(marker)


def test_the_good_leak_is_taken(sandbox, tmp_path):
    code, log, memory = sandbox.run(tmp_path, place(tmp_path / "leak", {}))
    assert code == 0, log
    assert memory < GIGABYTE
    kept = {path.name for path in (tmp_path / "targets" / "t" / "draw-000").iterdir()}
    assert kept == {"model.json", "weights_before.npz", "delta.npz", "meta.json", "manifest.json"}


def test_the_corpus_is_large_enough():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_in_a_reason_and_nothing_else(name, made, sandbox, tmp_path):
    marker, cases = made
    changes, file, message = cases[name]
    folder = place(tmp_path / "leak", changes)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, log, memory = sandbox.run(tmp_path, folder)
    assert code == 1, f"exit {code}: {log}"
    (error,) = [line for line in log.splitlines() if line.startswith("ERROR in fetch_artifacts")]
    assert re.search(message, error), error
    assert re.search(file, error), error
    assert len(error) < 1500
    assert "Traceback" not in log
    assert memory < GIGABYTE
    assert not marker.exists(), "a payload ran"
    assert marker.parent.exists(), "a payload ran"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    left = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert left == [tmp_path / "fetch.log"], "something is left that a later run may take for good"
