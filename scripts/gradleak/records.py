"""The record of a block: one JSON file with all about its trials but the metrics that need truth.

cell, block: what was computed, by which the file is named, too
parameters: the options that differ from their defaults; code: the digest of the code; threads
environment: host, and the versions of Python and of packages; job: the cluster's number of the job, or ""
started: seconds since 1970; seconds: {part: seconds}, with "total"; cpu_seconds: of the process, with its
  start-up; peak_mb: memory in MiB
trials: [{"seed", "draw", "status", "reason", "objective", "history": {"step": [...], "objective": [...]}}];
  "notes" where an attack found what contradicts the update or limits what it proves: [{"kind", numbers}]

status: ok, diverged, not applicable. Every trial has an entry, failed ones too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import socket
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gradleak.files import read_json, write_json

HISTORY_POINTS = 200
PACKAGES = ("tensorflow", "keras", "numpy", "snakemake")
JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "LSB_JOBID")  # the job's number in SLURM, PBS, SGE, LSF


def environment() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def job_id() -> str:
    """The cluster's number of the job that this process runs in; empty without a cluster."""
    return next((os.environ[name] for name in JOB_IDS if os.environ.get(name)), "")


def thin(steps: np.ndarray, values: np.ndarray, points: int = HISTORY_POINTS) -> dict[str, list[float]]:
    """At most ``points`` points of a curve, always with the first, the last and the smallest value."""
    finite = np.isfinite(values)
    steps, values = np.asarray(steps)[finite], np.asarray(values)[finite]
    if len(steps) > points:
        keep = np.union1d(np.linspace(0, len(steps) - 1, points - 1).round().astype(int), values.argmin())
        steps, values = steps[keep], values[keep]
    return {"step": [int(s) for s in steps], "objective": [float(f"{v:.6g}") for v in values]}


def trial(
    seed: int,
    draw: int,
    status: str = "ok",
    reason: str = "",
    objective: float | None = None,
    history: dict | None = None,
) -> dict[str, Any]:
    value = None if objective is None or not np.isfinite(objective) else float(objective)
    return {
        "seed": int(seed),
        "draw": int(draw),
        "status": status,
        "reason": reason,
        "objective": value,
        "history": history or {},
    }


def digest(*parts: Any) -> str:
    """Sixteen hex digits that stand for ``parts``; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read(path: str | Path) -> dict[str, Any]:
    """The record in a file, as described above."""
    return read_json(path)


def write(snakemake: Any, trials: list[dict], began: float, seconds: dict[str, float]) -> None:
    """Write the record of the block that a script has just computed, to the output ``record`` of its rule.

    trials: from ``trial``. began: when the script began, by time.monotonic(). seconds: of the parts of its
    work.
    """
    params = snakemake.params
    record = {
        "cell": snakemake.wildcards.cell,
        "block": snakemake.wildcards.block,
        "parameters": params.spec,
        "code": params.code,
        "threads": snakemake.threads,
        "environment": environment(),
        "job": job_id(),
        "started": time.time() - (time.monotonic() - began),
        "seconds": {**seconds, "total": time.monotonic() - began},
        "cpu_seconds": time.process_time(),
        "peak_mb": peak_mb(),
        "trials": trials,
    }
    write_json(snakemake.output.record, record)
