"""The cost of a job on SLURM beyond its work: this machine alone, the profile, and the slurm plugin.

    python tests/benchmarks/bench_slurm.py [--jobs 12] [--smoke] [--output results/benchmarks/slurm.json]

A private SLURM of two nodes (tests/slurm/lab.py) runs label blocks, about a third of a second of work each,
two at a time, as the local run does. The clock counts from the command to its end. --smoke: the smoke study
as well, 27 blocks, through the profile.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/slurm"))
import lab as slurm  # noqa: E402

PROFILE = ["--profile", "profiles/slurm", "--latency-wait", "20"]
EXECUTORS = {
    "local": ["--cores", "2"],
    "cluster-generic": [*PROFILE, "--jobs", "2"],
    "slurm plugin": [
        *PROFILE,
        "--jobs",
        "2",
        "--executor",
        "slurm",
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "2",
    ],
}


def study(jobs: int) -> dict:
    return {
        "study": "overhead",
        "targets": {
            "t": {"source": "simulate", "dataset": "digits-8x8", "model": "fcn3", "batch_size": 2, "draws": 4}
        },
        "studies": {
            "overhead": {
                "seeds": jobs,
                "block_size": 1,
                "cells": [{"attack": "labels", "target": "t", "method": "uniform"}],
            }
        },
    }


def snakemake(folder: Path, lab: slurm.Lab, arguments: list[str]) -> dict:
    """Seconds of one run."""
    environment = {**lab.environment, "PATH": f"{Path(sys.executable).parent}:{lab.environment['PATH']}"}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout[-3000:]}{done.stderr[-6000:]}")
    return {"wall_s": time.perf_counter() - begun}


def nodes_of(lab: slurm.Lab, known: set[str]) -> collections.Counter:
    """How many of the jobs that are not in ``known`` each node ran; adds them."""
    time.sleep(3)  # the accounting is a little late
    new = [row for row in lab.accounted("JobID", "NodeList") if row["JobID"] not in known]
    known |= {row["JobID"] for row in new}
    return collections.Counter(row["NodeList"] for row in new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/slurm.json"))
    arguments = parser.parse_args()
    if reason := slurm.missing():
        sys.exit(reason)
    report: dict = {"jobs": arguments.jobs}
    with tempfile.TemporaryDirectory() as name, slurm.running(nodes=2, cpus=2) as lab:
        base = Path(name) / "base"
        for part in ("rules", "scripts", "config", "profiles", "envs", "docs"):
            shutil.copytree(ROOT / part, base / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", base)
        (base / "mine.yaml").write_text(yaml.safe_dump(study(arguments.jobs)))
        given = ["--configfile", "mine.yaml", "--quiet", "all"]
        snakemake(base, lab, ["--cores", "2", *given, "--until", "validate_mapping"])
        known: set[str] = set()
        for executor, options in EXECUTORS.items():
            folder = Path(name) / executor.replace(" ", "-")
            shutil.copytree(base, folder, symlinks=True)
            parts = snakemake(folder, lab, [*options, *given, "--until", "recover_labels"])
            parts["nodes"] = nodes_of(lab, known)
            parts["per_job_s"] = parts["wall_s"] / arguments.jobs
            parts["overhead_s"] = parts["per_job_s"] - report.get("local", parts)["per_job_s"]
            report[executor] = parts
            print(f"{executor}: {parts}", flush=True)
        if arguments.smoke:
            smoke = {"study": "smoke", "studies": {"smoke": {"seeds": 6}}}
            (base / "smoke.yaml").write_text(yaml.safe_dump(smoke))
            given = [*PROFILE, "--configfile", "smoke.yaml", "--quiet", "all"]
            report["smoke"] = snakemake(base, lab, given)
            report["smoke"]["nodes"] = nodes_of(lab, known)
            report["smoke"]["blocks"] = len({*base.glob("results/scores/*/*.json")})
            print(f"smoke: {report['smoke']}", flush=True)
    report["load"] = os.getloadavg()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print("\n| executor | in all | per job | beyond a local one |\n" + "| --- " * 4 + "|")
    for executor in EXECUTORS:
        p = report[executor]
        print(f"| {executor} | {p['wall_s']:.0f} s | {p['per_job_s']:.1f} s | {p['overhead_s']:.1f} s |")


if __name__ == "__main__":
    main()
