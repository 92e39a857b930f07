"""A dry run as a summary: cells, trials, finished blocks, what would run and why, and for how long.

    python -m gradleak.workflow.forecast [--cores N] [any arguments of Snakemake]

Snakemake itself says what would run and why; the benchmark files of past jobs say how long such jobs take.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

WHY = {  # a part of Snakemake's reason → the words shown; the first match counts
    "Missing output files": "not there yet",
    "Incomplete output files": "was interrupted",
    "Code has changed": "code changed",
    "Params have changed": "parameters or code changed",
    "Set of input files": "other inputs",
    "Updated input files": "newer inputs",
    "Forced execution": "forced",
    "Input files updated by another job": "depends on the others",
}
SHORT_JOB = 60  # seconds; shorter jobs cost a cluster more in start-up than in work


class Job(NamedTuple):
    rule: str
    cell: str  # "" if it is no cell's
    reason: str


def jobs_of(dry_run: str) -> list[Job]:
    """Every job of a dry run's output."""
    found = []
    for text in re.split(r"^(?:local)?(?:rule|checkpoint) ", dry_run, flags=re.M)[1:]:
        rule, _, rest = text.partition(":")
        reason = re.search(r"^    reason: (.*)$", rest, re.M)
        cell = re.search(r"^    wildcards: .*\bcell=([0-9a-f]{10})", rest, re.M)
        if rule != "all":
            found.append(Job(rule, cell.group(1) if cell else "", why(reason.group(1) if reason else "")))
    return found


def why(reason: str) -> str:
    return next((words for start, words in WHY.items() if start in reason), reason or "no reason given")


class Past:
    """Seconds that jobs took, from the benchmark files ``<folder>/<rule>/…/<block>.tsv``."""

    def __init__(self, folder: Path):
        self.of_cell: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.of_rule: dict[str, list[float]] = defaultdict(list)
        for path in sorted(folder.glob("*/**/*.tsv")):
            with path.open(encoding="utf-8") as stream:
                taken = [float(row["s"]) for row in csv.DictReader(stream, delimiter="\t")]
            rule, *cell = path.relative_to(folder).parts[:-1]
            self.of_rule[rule] += taken
            self.of_cell[rule, cell[0] if cell else ""] += taken

    def seconds(self, job: Job) -> float | None:
        """The mean time of past jobs of its cell, else of its rule; None without any."""
        past = self.of_cell.get((job.rule, job.cell)) or self.of_rule.get(job.rule)
        return statistics.fmean(past) if past else None


def text_of(summary: str, jobs: Iterable[Job], past: Path, cores: int) -> str:
    """The summary as text. summary: the lines that the workflow prints about its studies."""
    jobs = list(jobs)
    known = Past(past)
    lines = [summary, ""]
    if not jobs:
        return "\n".join([*lines, "Nothing to do: all results are there."])
    rows = [("rule", "jobs", "hours", "why")]
    total, unknown = 0.0, 0
    for rule, own in _by_rule(jobs).items():
        taken = [known.seconds(job) for job in own]
        seen = [seconds for seconds in taken if seconds is not None]
        total, unknown = total + sum(seen), unknown + len(taken) - len(seen)
        hours = f"{sum(seen) / 3600:.2f}" if seen else "?"
        reasons = Counter(job.reason for job in own)
        rows.append(
            (rule, str(len(own)), hours, ", ".join(f"{reason}: {n}" for reason, n in reasons.most_common()))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        lines.append(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}")
    lines += [
        "",
        f"{len(jobs)} jobs. By the benchmark files of past jobs they take {total / 3600:.2f} hours one after "
        f"another, about {total / 3600 / cores:.2f} hours with {cores} at a time.",
    ]
    if unknown:
        lines.append(f"Not counted: {unknown} jobs of rules without a benchmark file.")
    for rule, own in _by_rule(jobs).items():
        typical = [seconds for job in own if (seconds := known.seconds(job)) is not None]
        if rule.startswith("invert_") and typical and statistics.median(typical) < SHORT_JOB:
            lines.append(
                f"A job of {rule} takes about {statistics.median(typical):.0f} s, most of it start-up. On a "
                "cluster, a larger studies.<name>.block_size (and more seeds) gives fewer and longer jobs."
            )
    return "\n".join(lines)


def _by_rule(jobs: list[Job]) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.rule, []).append(job)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def settings(arguments: list[str]) -> tuple[int, list[str]]:
    """How many jobs run at a time, and the arguments of the dry run, whose output is not quiet."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cores", "-c")
    parser.add_argument("--jobs", "-j")
    parser.add_argument("--profile")
    parser.add_argument("--quiet", "-q", nargs="*")
    known, given = parser.parse_known_args(arguments)
    for name in ("cores", "jobs", "profile"):
        if value := getattr(known, name):
            given += [f"--{name}", value]
    at_once = known.cores or known.jobs or "1"
    if not (known.cores or known.jobs or known.profile):
        given += ["--cores", "1"]
    return int(at_once) if at_once.isdigit() else os.cpu_count() or 1, given


def main(arguments: list[str]) -> None:
    cores, given = settings(arguments)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", *given],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr)[-6000:])  # Snakemake writes errors to either
        sys.exit(done.returncode)
    summary = "\n".join(line for line in done.stderr.splitlines() if line.startswith("Study "))
    print(text_of(summary, jobs_of(done.stdout), Path("results/benchmarks"), cores))


if __name__ == "__main__":
    main(sys.argv[1:])
