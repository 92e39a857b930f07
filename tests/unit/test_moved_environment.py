"""envs/moved.py: the programs of .venv after the project's folder was moved."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = "import sys\nprint(sys.executable)\n"


@pytest.fixture(scope="module")
def moved():
    spec = importlib.util.spec_from_file_location("moved_environment", ROOT / "envs/moved.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "names", [("here", "there"), ("here", "a b's"), ("a b's", "there"), ("x" * 130, "y z")]
)
def test_programs_run_the_python_of_the_folder_that_they_are_in(moved, names, tmp_path, monkeypatch):
    old, new = (tmp_path / name for name in names)
    bin = old / ".venv/bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(sys.executable)
    program = bin / "tool"
    program.write_bytes(moved.first_line(str(bin / "python")) + SCRIPT.encode())
    program.chmod(0o755)
    (bin / "activate").write_text(f'VIRTUAL_ENV="{old}/.venv"\n')
    (old / ".venv/.installed").write_text(str(old))
    old.rename(new)
    monkeypatch.chdir(new)
    moved.main()
    here = new / ".venv/bin"
    told = subprocess.run([here / "tool"], capture_output=True, text=True, check=True).stdout.strip()
    assert told == str(here / "python")
    assert os.access(here / "tool", os.X_OK)
    assert (here / "activate").read_text() == f'VIRTUAL_ENV="{new}/.venv"\n'
    before = (here / "tool").read_bytes()
    moved.main()
    assert (here / "tool").read_bytes() == before


def test_an_environment_in_its_place_is_left_alone(moved, tmp_path, monkeypatch):
    bin = tmp_path / ".venv/bin"
    bin.mkdir(parents=True)
    (bin / "tool").write_text(f"#!{bin}/python\n")
    (tmp_path / ".venv/.installed").touch()  # of an earlier version of the project
    monkeypatch.chdir(tmp_path)
    moved.main()
    assert (tmp_path / ".venv/.installed").read_text() == str(tmp_path)
    assert (bin / "tool").read_text() == f"#!{bin}/python\n"


def test_an_environment_of_another_folder_is_left_alone(moved, tmp_path, monkeypatch):
    owner, other = tmp_path / "owner", tmp_path / "other"
    (owner / ".venv/bin").mkdir(parents=True)
    (owner / ".venv/bin/tool").write_text(f"#!{owner}/.venv/bin/python\n")
    (owner / ".venv/.installed").write_text(str(owner))
    other.mkdir()
    (other / ".venv").symlink_to(owner / ".venv")
    monkeypatch.chdir(other)
    moved.main()
    assert (owner / ".venv/bin/tool").read_text() == f"#!{owner}/.venv/bin/python\n"
    assert (owner / ".venv/.installed").read_text() == str(owner)
