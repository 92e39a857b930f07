#!/usr/bin/env python3
"""Submit a job script of Snakemake's to SLURM and print the job's number.

A job of an earlier Snakemake that was killed may still wait or run. If it is the same job (same outputs from
the same inputs, parameters and code: its comment holds their digest), it is taken over instead of submitted a
second time.
"""

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

LOGS = Path("results/logs/slurm")
PREFIX = "gradleak:"


def properties(script: Path) -> dict:
    """What Snakemake says of the job, from the script's own comment."""
    mark = "# properties = "
    lines = script.read_text(encoding="utf-8", errors="replace").splitlines()
    return json.loads(next(line for line in lines if line.startswith(mark))[len(mark) :])


def digest(job: dict) -> str:
    # The folder counts: two checkouts of one user make the same files in different places.
    same = [str(Path.cwd()), *(job.get(key) for key in ("rule", "output", "input", "params"))]
    return PREFIX + hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def left_over(script: Path, comment: str) -> str:
    """The number of a live job with this comment, submitted by an earlier Snakemake; empty without one."""
    # One question a Snakemake: what comes later is its own. Its scripts lie in a folder of its own.
    queue = script.parent / "left_over.json"
    if not queue.exists():
        asked = [
            "squeue",
            "--me",
            "--noheader",
            "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED",
            "--format=%A %k",
        ]
        lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
        found = (line.split(maxsplit=1) for line in lines)
        numbers = {parts[1]: parts[0] for parts in found if len(parts) == 2}
        queue.write_text(json.dumps(numbers), encoding="utf-8")
    known = json.loads(queue.read_text(encoding="utf-8"))
    number = known.pop(comment, "")
    if number:
        # Once: if it fails, the next attempt is a job of its own.
        queue.write_text(json.dumps(known), encoding="utf-8")
    return number


def command(script: Path, job: dict, comment: str) -> list[str]:
    """sbatch with the job's resources."""
    name = ".".join(
        [job.get("rule") or job.get("groupid") or "job", *map(str, job.get("wildcards", {}).values())]
    )
    resources = job["resources"]
    LOGS.mkdir(parents=True, exist_ok=True)
    options = {
        "job-name": name,
        "comment": comment,
        "output": LOGS / f"{name}.%j.log",
        "cpus-per-task": job["threads"],
        "mem": resources.get("mem_mb"),
        "time": resources.get("runtime"),
        "partition": resources.get("slurm_partition"),
        "account": resources.get("slurm_account"),
        "gpus": resources.get("gpu"),
    }
    given = [f"--{key}={value}" for key, value in options.items() if value]
    return [
        "sbatch",
        "--parsable",
        "--requeue",
        "--open-mode=append",
        *given,
        *shlex.split(str(resources.get("slurm_extra", ""))),
        str(script),
    ]


def main() -> None:
    script = Path(sys.argv[-1])
    job = properties(script)
    comment = digest(job)
    number = left_over(script, comment)
    if not number:
        done = subprocess.run(command(script, job, comment), capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode:
            sys.exit(done.returncode)
        number = done.stdout.strip().split(";")[0]  # ";cluster" follows on federations
    print(number)


if __name__ == "__main__":
    main()
