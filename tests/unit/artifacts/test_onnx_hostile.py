"""Every hostile or broken ONNX file ends in a reason with its name."""

import re
import time

import onnx_corpus
import pytest
from sandbox import Sandbox

from gradleak.artifacts import onnx_model, roles
from gradleak.artifacts.errors import ArtifactError

CASES = onnx_corpus.corpus_of_onnx()
# Those that try to leave the file, or to take time, memory or the log: through the script and its child.
WHOLE = (
    "cut off",
    "a bomb of packed dims",
    "a bomb of empty nodes",
    "five megabytes",
    "a name with a new line",
    "dims whose product has 64 bits",
    "images of 2^20 × 2^20",
    "data outside of the file",
    "a key that the graph does not have",
)


def place(folder, changes):
    folder.mkdir()
    for name, content in {**onnx_corpus.good(), **changes}.items():
        (folder / name).write_bytes(content() if callable(content) else content)
    return folder


def test_the_corpus_is_large_enough():
    assert len(CASES) >= 60
    assert set(WHOLE) < set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_a_reason(name, tmp_path):
    changes, file, message = CASES[name]
    folder = place(tmp_path / "leak", changes)
    start = time.process_time()
    with pytest.raises(ArtifactError) as caught:
        roles.inspect(sorted(folder.iterdir()))
    assert time.process_time() - start < 5
    error = str(caught.value)
    assert re.search(message, error), error
    assert file in error
    assert len(error) < 1500
    assert error.isprintable()


@pytest.mark.parametrize("name", WHOLE)
def test_the_script_ends_in_the_reason(name, sandbox, tmp_path):
    changes, file, message = CASES[name]
    folder = place(tmp_path / "leak", changes)
    code, log, memory = sandbox.run(tmp_path, folder)
    (error,) = [line for line in log.splitlines() if line.startswith("ERROR in fetch_artifacts")]
    assert (code, "Traceback" in log, memory < 1 << 20) == (1, False, True), log
    assert re.search(message, error), error
    assert re.search(file, error), error
    left = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert left == [tmp_path / "fetch.log"]


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


def test_the_good_leak_is_taken(sandbox, tmp_path):
    code, log, memory = sandbox.run(tmp_path, place(tmp_path / "leak", {}))
    assert (code, memory < 1 << 20) == (0, True), log
    kept = {path.name for path in (tmp_path / "targets" / "t" / "draw-000").iterdir()}
    assert kept == {"model.json", "weights_before.npz", "delta.npz", "meta.json", "manifest.json"}


def test_any_part_of_a_file_is_refused(tmp_path):
    path, whole = tmp_path / "model.onnx", onnx_corpus.onnx()
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            onnx_model.read(path)
