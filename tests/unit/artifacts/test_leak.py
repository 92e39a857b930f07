"""The plain form of a leak: any key, damage since it was written, and what its reader does not import."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from leak_files import ARCHITECTURE, assert_arrays

from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak, read_leak, write_leak

SCRIPTS = Path(__file__).parents[3] / "scripts"


def test_any_key_survives_the_plain_form(tmp_path, rng):
    keys = ["file", "keys", "allow_pickle", "conv/kernel:0", "arr_0", "ключ", "a b"]
    tensors = {key: rng.normal(size=3).astype(np.float32) for key in keys}
    write_leak(tmp_path / "x", Leak(ARCHITECTURE.json, tensors, tensors, {}))
    found = read_leak(tmp_path / "x")
    assert list(found.before) == keys
    assert_arrays(found.delta, tensors.values())


@pytest.mark.parametrize("name", ["model.json", "weights_before.npz", "delta.npz", "meta.json"])
def test_a_plain_form_that_was_damaged_since_is_refused(tmp_path, rng, name):
    tensors = {"a": rng.normal(size=3).astype(np.float32)}
    write_leak(tmp_path / "x", Leak(ARCHITECTURE.json, tensors, tensors, {"a": 1}))
    path = tmp_path / "x" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError, match=name):
        read_leak(tmp_path / "x")
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        read_leak(tmp_path / "x")


def test_readers_of_untrusted_files_are_not_imported_with_it():
    """A client's simulation depends on leak.py alone, so an edit of these readers does not rerun it."""
    code = (
        "import sys, gradleak.artifacts.leak; print(*(name for name in sys.modules if 'artifacts.' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert "leak" in names
    assert not names & {"roles", "child", "unpickle", "sniff", "receive", "architecture"}
