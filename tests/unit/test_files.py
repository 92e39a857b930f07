"""Outputs are whole or not there, also with two processes at the same one."""

import shutil
import threading

import numpy as np
import pytest

from gradleak.files import read_npz, replacing, replacing_folder, write_npz
from gradleak.optim import checkpoints


def write_folder(path, content):
    with replacing_folder(path) as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text(content)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (tmp_path / "x.npz").write_text("old")

    def fail():
        with replacing(tmp_path / "x.npz") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.npz", "old")]


def test_two_writers_of_one_folder_leave_one_whole_folder(tmp_path):
    path, errors = tmp_path / "out", []

    def write(content):
        try:
            for _ in range(100):
                write_folder(path, content)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(content,)) for content in ("1", "2")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not errors
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing temporary is left"
    assert sorted(p.name for p in path.iterdir()) == ["a", "b", "c"]
    assert len({p.read_text() for p in path.iterdir()}) == 1, "of one writer"


def test_a_checkpoint_that_another_run_has_forgotten_is_made_again(tmp_path, monkeypatch):
    folder = tmp_path / "cell"
    checkpoints.save(folder, "f", {"step": 1})
    save, calls = np.savez, []

    def forgotten_meanwhile(path, **arrays):
        if not calls:
            shutil.rmtree(folder)  # the other run is done, just now
        calls.append(path)
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", forgotten_meanwhile)
    checkpoints.save(folder, "f", {"step": 2})
    assert checkpoints.load(folder, "f") == {"step": 2}


def test_equal_arrays_are_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, x=np.arange(5), y=np.float32(1))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert read_npz(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2, 3, 4]
