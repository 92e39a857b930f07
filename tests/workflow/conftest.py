"""Snakemake for real, on a copy of the project: the tests may edit sources, kill runs and scramble files."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from once import once

ROOT = Path(__file__).parents[2]
TINY = {
    "study": "tiny",
    "targets": {
        "tiny": {"source": "simulate", "dataset": "digits-8x8", "model": "fcn3", "batch_size": 2, "draws": 4}
    },
    "priors": {"tiny": {"dataset": "digits-8x8", "latent_dim": 4, "epochs": 1}},
    "studies": {
        "tiny": {
            "seeds": 4,
            "block_size": 2,
            "cells": [
                {"attack": "labels", "target": "tiny", "method": "rank1"},
                {"attack": "dlg", "target": "tiny", "steps": 60},
                {"attack": "latent", "target": "tiny", "prior": "tiny", "steps": 20},
            ],
        }
    },
}


class Project:
    """A copy of the project in a folder, and Snakemake in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def configure(self, config: dict, name: str = "mine.yaml") -> None:
        (self.folder / name).write_text(yaml.safe_dump(config))

    def command(self, *arguments: str, config: str = "mine.yaml") -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", config, *arguments]

    def environment(self) -> dict[str, str]:
        # ARGS of the make that runs the tests are no arguments of a make that a test runs.
        outer = ("MLFLOW_", "MAKE", "MFLAGS", "ARGS")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
        return {**clean, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def snakemake(self, *arguments: str, config: str = "mine.yaml", ok: bool = True) -> str:
        done = subprocess.run(
            self.command(*arguments, config=config),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"exit {done.returncode}\n{output[-6000:]}"
        return output

    def planned(self, *arguments: str, config: str = "mine.yaml") -> dict[str, int]:
        """Rule → how many jobs a run would start."""
        return self.counted(self.snakemake("-n", *arguments, config=config))

    @staticmethod
    def counted(output: str) -> dict[str, int]:
        """Rule → how many jobs Snakemake says it starts, of the output of a run or a dry run."""
        table = re.search(r"^job +count\n[-\s]+\n((?:\S+ +\d+\n)+)", output, re.M)
        found = dict(re.findall(r"^(\S+) +(\d+)$", table.group(1), re.M)) if table else {}
        return {rule: int(count) for rule, count in found.items() if rule not in ("total", "all")}

    def bytes_of(self, *patterns: str) -> dict[str, bytes]:
        """Without hidden files, which killed jobs leave behind and which no job reads."""
        return {
            str(p.relative_to(self.folder)): p.read_bytes()
            for x in patterns
            for p in sorted(self.folder.glob(x))
            if not p.name.startswith(".")
        }

    def arrays_unlike(self, other: dict[str, bytes], *patterns: str) -> list[str]:
        """The arrays of matching .npz files that differ from those of ``other``, and by how much."""
        mine, unlike = self.bytes_of(*patterns), []
        for name in sorted(mine.keys() | other.keys()):
            if name not in mine or name not in other:
                unlike.append(f"{name}: {'only there' if name in other else 'only here'}")
            elif mine[name] != other[name]:
                here, there = (
                    np.load(io.BytesIO(content), allow_pickle=False) for content in (mine[name], other[name])
                )
                unlike += [
                    f"{name}: {key}: {_difference(here, there, key)}"
                    for key in sorted({*here, *there})
                    if _difference(here, there, key)
                ] or [f"{name}: equal arrays, other bytes"]
        return unlike

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def _difference(here, there, key: str) -> str:
    if key not in here or key not in there:
        return "missing"
    a, b = here[key], there[key]
    if a.shape == b.shape and a.tobytes() == b.tobytes():
        return ""
    if a.shape != b.shape or a.dtype.kind not in "fiu":
        return f"{a!r} and {b!r}"
    apart = np.abs(a.astype(float) - b)
    return f"{np.count_nonzero(apart)} of {a.size} numbers, by up to {apart.max(initial=0):.3g}"


def checkout(folder: Path) -> Project:
    """The project's own files, without results or set-up."""
    for name in ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "docs"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return Project(folder)


@pytest.fixture
def fresh(tmp_path) -> Project:
    return checkout(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny study, run once for all workers; tests work on copies of it."""

    def run(folder: Path) -> None:
        project = checkout(folder)
        project.configure(TINY)
        project.snakemake()

    return Project(once(tmp_path_factory, "finished", run))


@pytest.fixture
def rerun(finished, tmp_path) -> Project:
    return finished.copy(tmp_path / "project")
