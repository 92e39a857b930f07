"""A study of 10,000 trials: time and memory of a dry run, and what one more axis value schedules.

    python tests/benchmarks/bench_plan.py [--output results/benchmarks/plan.json]

The workflow and a study of 1,260 DLG cells with eight seeds each, in a folder of its own. "done": every file
of every block is there (empty, all of one time), as after a whole run.
"""

import argparse
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STUDY = {
    "study": "big",
    "targets": {"big": {"source": "simulate", "dataset": "mnist-5k", "model": "cnn7", "draws": 8}},
    "studies": {
        "big": {
            "seeds": 8,
            "cells": [
                {
                    "attack": "dlg",
                    "target": "big",
                    "axes": {
                        "target.batch_size": [1, 2, 4, 8, 16, 24, 32],
                        "target.pretrain_epochs": [0, 1],
                        "target.local_epochs": [1, 2, 5],
                        "weighting": ["uniform", "depth", "norm"],
                        "learning_rate": [0.05, 0.1],
                        "tv": [0, 1.0e-5, 3.0e-5, 1.0e-4, 3.0e-4],
                    },
                }
            ],
        }
    },
}


def dry_run(folder: Path, config: dict) -> dict:
    """Jobs by rule, seconds, and the scheduler's peak memory."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "16", "--configfile", "mine.yaml"]
    begun = time.perf_counter()
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    text = (folder / "out").read_text()
    if status:
        sys.exit((folder / "err").read_text()[-4000:])
    table = re.search(r"^job +count\n[-\s]+\n((?:\S+ +\d+\n)+)", text, re.M)
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\S+) +(\d+)$", table.group(1), re.M)} if table else {}
    study = next(line for line in (folder / "err").read_text().splitlines() if line.startswith("Study "))
    return {
        "study": study,
        "jobs": jobs,
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }


def finish(folder: Path) -> int:
    """Make every file of a block that the last dry run would have, and none of the tables; their number."""
    when = time.time() - 3600
    made = set()
    for line in re.findall(r"^    output: (.*)$", (folder / "out").read_text(), re.M):
        for name in line.split(", "):
            path = folder / name
            if path.relative_to(folder / "results").parts[0] in (
                "tables",
                "figures",
                "mlflow",
                "report.html",
                "cells.csv",
            ):
                continue
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}")
            else:  # a target's folder of artifacts
                path.mkdir(parents=True, exist_ok=True)
                (path / "delta.npz").touch()
                made.add(path / "delta.npz")
            made.add(path)
    for path in made:
        os.utime(path, (when, when))
    return len(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/plan.json"))
    arguments = parser.parse_args()
    more = copy.deepcopy(STUDY)
    more["studies"]["big"]["cells"][0]["axes"]["tv"].append(1.0e-3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rules", "scripts", "config", "profiles", "envs", "docs"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", folder)
        report = {"fresh": dry_run(folder, STUDY)}
        finish(folder)
        report["done"] = dry_run(folder, STUDY)
        report["one value more"] = dry_run(folder, more)
    expected = report["fresh"]["jobs"]["invert_pixels"] // 5
    report["new_blocks_expected"] = expected
    report["load"] = os.getloadavg()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print("| dry run | wall | processor | peak memory | attack blocks | jobs |\n" + "| --- " * 6 + "|")
    for state in ("fresh", "done", "one value more"):
        run = report[state]
        print(
            f"| {state} | {run['wall_s']:.1f} s | {run['cpu_s']:.1f} s | {run['peak_mb']:.0f} MB "
            f"| {run['jobs'].get('invert_pixels', 0)} | {run['jobs'].get('total', 0)} |"
        )
    print(
        f"\n{report['fresh']['study']}. One value more should schedule {expected} blocks. "
        f"Load: {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
