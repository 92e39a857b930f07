"""One private SLURM for all tests of this folder, or the reason why there is none."""

import importlib.util
import os
import sys
from pathlib import Path

import lab as slurm
import pytest

ROOT = Path(__file__).parents[2]


def _workflow():
    """tests/workflow/conftest.py, under a name of its own."""
    spec = importlib.util.spec_from_file_location("workflow_projects", ROOT / "tests/workflow/conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


projects = _workflow()


class OnSlurm(projects.Project):
    """A copy of the project that runs through profiles/slurm."""

    def __init__(self, folder: Path, lab: slurm.Lab):
        super().__init__(folder)
        self.lab = lab

    def command(self, *arguments: str, config: str = "mine.yaml") -> list[str]:
        program = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--latency-wait", "10"]
        return [*program, "--configfile", config, *arguments]

    def environment(self) -> dict[str, str]:
        one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return {
            **super().environment(),
            **one,
            "SLURM_CONF": self.lab.environment["SLURM_CONF"],
            "PATH": f"{Path(sys.executable).parent}:{self.lab.environment['PATH']}",
        }


@pytest.fixture(scope="session")
def lab():
    if reason := slurm.missing():
        if os.environ.get("GRADLEAK_SLURM") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm.running(nodes=2, cpus=2) as running:
        yield running


@pytest.fixture(scope="session")
def project(lab, tmp_path_factory):
    """A function: a fresh copy of the project, on SLURM."""

    def make(config: dict) -> OnSlurm:
        copy = OnSlurm(projects.checkout(tmp_path_factory.mktemp("slurm") / "project").folder, lab)
        copy.configure(config)
        return copy

    return make
