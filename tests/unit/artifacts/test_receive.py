"""Files go through the confined child process and end in plain form, or in an error that names the file."""

import subprocess
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from leak_files import assert_arrays
from safetensors.numpy import save_file

from gradleak.artifacts import limits
from gradleak.artifacts import receive as receiving
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import read_leak
from gradleak.artifacts.receive import receive


def test_received_files_are_kept_as_plain_arrays_with_a_manifest(leak, tmp_path):
    folder, before, delta = leak
    (tmp_path / "kept").mkdir()
    files = sorted(folder.iterdir())
    found = receive(files, tmp_path / "kept")
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)
    assert found.meta["values"] == 2.5
    again = read_leak(tmp_path / "kept")
    assert again.manifest == found.manifest
    for entry, path in zip(found.manifest["files"], files, strict=True):
        assert entry["name"] == path.name
        assert entry["bytes"] == path.stat().st_size
        assert entry["sha256"] == subprocess.check_output(["sha256sum", path], text=True).split()[0]
    for path in (tmp_path / "kept").glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(not file[name].dtype.hasobject for name in file.files)


def test_bfloat16_in_safetensors_is_decoded_in_the_confined_process(leak, tmp_path):
    folder, before, _ = leak
    (tmp_path / "kept").mkdir()
    (folder / "weights_before.npz").unlink()
    short = {f"arr_{i}": np.ascontiguousarray(a).astype(ml_dtypes.bfloat16) for i, a in enumerate(before)}
    save_file(short, folder / "w.safetensors")
    found = receive(sorted(folder.iterdir()), tmp_path / "kept")
    assert_arrays(found.before, [a.astype(ml_dtypes.bfloat16) for a in before])


def test_a_file_that_takes_too_long_or_crashes_the_reader_is_named(leak, tmp_path, monkeypatch):
    folder, *_ = leak
    target = tmp_path / "target"
    target.mkdir()
    for ending, message in (
        ("import time; time.sleep(60)", "took more than"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise KeyError('odd')", "cannot be read"),
    ):
        script = f"import os; print('reading {folder}/delta.npz', flush=True); {ending}"
        popen = subprocess.Popen
        monkeypatch.setattr(limits, "CHILD_SECONDS", -4)
        monkeypatch.setattr(
            subprocess, "Popen", lambda command, s=script, p=popen, **kw: p([command[0], "-c", s], **kw)
        )
        with pytest.raises(ArtifactError, match=rf"delta\.npz: .*{message}"):
            receive(sorted(folder.iterdir()), target)
        monkeypatch.undo()


def test_the_model_that_the_child_wrote_is_checked_again(leak, tmp_path, monkeypatch):
    folder, *_ = leak
    target = tmp_path / "target"
    target.mkdir()
    real = receiving.read_leak
    changed = '{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}'
    monkeypatch.setattr(receiving, "read_leak", lambda folder: replace(real(folder), model_json=changed))
    with pytest.raises(ArtifactError, match=r"model\.json: "):
        receive(sorted(folder.iterdir()), target)
