"""Blocks that a run did not finish, and the reasons, from the files and logs that are there.

Read while the workflow is parsed, so it imports no TensorFlow, MLflow or pandas. Paths of jobs are asked of
the rules. All paths are relative to the working directory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gradleak.workflow import progress
from gradleak.workflow.plan import Plan

SCORES = "results/scores/{cell}/{block}.json"  # the last files of a block
NO_MESSAGE = "ended without an error message (killed, out of memory or out of time?)"


class Missing(NamedTuple):
    """A block that has no scores."""

    cell: str
    block: str
    seeds: list[int]
    draws: list[int]
    reason: str


class Job(NamedTuple):
    """A job on the way to some file."""

    rule: str
    log: str
    output: str  # the file that the next job needs


def missing(plan: Plan) -> list[tuple[str, str]]:
    """The (cell, block) pairs of the plan that lack a file."""
    done = progress.finished(Path("results"))
    return [pair for pair in plan.asked() if pair not in done]


def explained(plan: Plan, pairs: Iterable[tuple[str, str]], rules: Iterable[Any]) -> list[Missing]:
    """The missing blocks ``pairs`` with their reasons. rules: those of Snakemake's workflow."""
    rules, found = list(rules), []
    known: dict[str, list[Job]] = {}
    for cell, block in pairs:
        seeds = plan.blocks[cell, block]
        jobs = jobs_to(SCORES.format(cell=cell, block=block), rules, known)
        found.append(Missing(cell, block, seeds, plan.cells[cell].draws(seeds), _reason(jobs)))
    return found


def _reason(jobs: Iterable[Job]) -> str:
    """The first error among ``jobs``, in their order. A job whose output is there has not failed."""
    without_message = ""
    for job in jobs:
        log = Path(job.log)
        if not log.exists() or Path(job.output).exists():
            continue
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if errors := [line for line in lines if line.startswith("ERROR in ")]:
            return f"{errors[-1].removeprefix('ERROR in ')} ({job.log})"
        without_message = without_message or f"{job.rule} {NO_MESSAGE} ({job.log})"
    return without_message or "never started"


def jobs_to(file: str, rules: list[Any], known: dict[str, list[Job]]) -> list[Job]:
    """The jobs that make ``file``, in the order in which they run. known: the answers so far, by file."""
    from snakemake.iocontainers import Wildcards

    if file not in known:
        known[file] = []
        rule = next((rule for rule in rules if rule.is_producer(file)), None)
        if rule:
            wildcards = Wildcards(fromdict=rule.get_wildcards(file))
            inputs, *_ = rule.expand_input(wildcards)
            before = [job for needed in inputs for job in jobs_to(str(needed), rules, known)]
            job = Job(rule.name, str(rule.expand_log(wildcards)[0]), file)
            known[file] = list(dict.fromkeys([*before, job]))
    return known[file]


def jobs_failed(log: str) -> bool:
    """Whether Snakemake's own log reports failed jobs, and no run that its user ended."""
    return (
        "Exiting because a job execution failed" in log and "Terminating processes on user request" not in log
    )
