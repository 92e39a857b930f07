"""The record of a block: one JSON that says all about its trials but the truth-based metrics.

{"cell", "block", "parameters" (those that differ from the defaults), "code", "threads",
 "environment": {...}, "job" (the cluster's id of it, or ""), "started", "seconds": {...}, "cpu_seconds" (of the whole
 process, start-up included), "peak_mb",
 "trials": [{"seed", "draw", "status", "reason", "objective", "history": {"step": [...], "objective": [...]}}]}

status: ok, diverged, not applicable. Every trial has a row, whatever became of it.
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
from typing import Any

import numpy as np

HISTORY_POINTS = 200
PACKAGES = ("tensorflow", "keras", "numpy", "snakemake")
JOB_IDS = (
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "JOB_ID",
    "LSB_JOBID",
)  # where SLURM, PBS, SGE and LSF tell a job its number


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
    """The number that the cluster gave the job that this process runs in; empty without a cluster."""
    return next((os.environ[name] for name in JOB_IDS if os.environ.get(name)), "")


def thin(steps: np.ndarray, values: np.ndarray, points: int = HISTORY_POINTS) -> dict[str, list[float]]:
    """At most ``points`` of a curve; the first, the last and the least are always kept."""
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
    """What a tracker compares to know whether a trial has changed."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def of_block(snakemake: Any, trials: list[dict], began: float, seconds: dict[str, float]) -> dict[str, Any]:
    """The record of the block that a script has just done; ``began`` is in time.monotonic() seconds."""
    params = snakemake.params
    return {
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
