"""``make audit``: one update or a recorded run → a verdict, without a config of the user's.

    python -m gradleak.workflow.audit --leak FOLDER [--public NAME_OR_PATH] [--truth PATH] [--samples N]
        [--minutes 10] [--cores N] [any arguments of Snakemake]

The mapping runs first. Then the attacks run that have a prospect, with their controls, once; those come first
whose results are certified. The time that is left is spent on further seeds, by the times that the first ones
took. The config is results/audit.yaml.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradleak.files import read_json, replacing
from gradleak.workflow import config as configuration
from gradleak.workflow import study
from gradleak.workflow.audit_config import Arguments, AuditError, audit_config, checked
from gradleak.workflow.forecast import Job, Past
from gradleak.workflow.plan import Plan

CONFIG = Path("results/audit.yaml")
VERDICT = Path("results/tables/verdict.json")
BENCHMARKS = Path("results/benchmarks")
STUDIES = Path("config/studies")
HINT = (
    "make audit: the update was not understood; the reason is above. Settings of the target are arguments: "
    f"`samples` is SAMPLES=, `dataset` is PUBLIC=. For others edit {CONFIG} and run\n"
    f"    snakemake --cores 2 --configfile {CONFIG}"
)
MOST_SEEDS = 8
SPENT = 0.8  # share of the time that is left that the forecast may fill; the tables come after it
LEAST = 30  # seconds below which no further seeds are started


@dataclass(frozen=True)
class Run:
    """Snakemake in this folder, until ``deadline`` (of ``time.monotonic``)."""

    cores: int
    deadline: float
    further: list[str]

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def snakemake(self, *arguments: str, limited: bool = True, may_fail: bool = False) -> bool:
        """Whether it ended in time. Ends this process with the exit status of a run that failed, unless it
        may: then the jobs that depend on no failed one are done.
        """
        command = [
            *(sys.executable, "-m", "snakemake", "--cores", str(self.cores), "--configfile", str(CONFIG)),
            *("--quiet", "rules", *self.further, *arguments),
        ]
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                status = process.wait(max(self.left, 1) if limited else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)  # jobs save their state and end
                process.wait()
                return False
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGINT)
                process.wait()
                raise SystemExit(130) from None
            except Terminated:  # a session of its own does not get the signal
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise SystemExit(143) from None
        if status and not may_fail:
            raise SystemExit(status)
        return True


class Terminated(BaseException):
    """This process was asked to end, by SIGTERM."""


def _terminate(*_: object) -> None:
    raise Terminated


def write(config: dict[str, Any]) -> Plan:
    """Write the config and return its plan. Raises ConfigError."""
    with replacing(CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return study.plan(configuration.load(config, STUDIES))


def prospect_files(plan: Plan) -> list[Path]:
    return [Path(f"results/mapping/{target}/{block}/prospects.json") for target, block in plan.mapped()]


def has_unmapped(work: Run, plan: Plan) -> bool:
    """Map the updates, and say whether some of a recorded run cannot be mapped: the others are audited.

    Ends this process where none can.
    """
    work.snakemake("--until", "assess_prospects", limited=False, may_fail=True)
    absent = [path for path in prospect_files(plan) if not path.exists()]
    if not absent:
        return False
    if len(absent) == len(plan.mapped()):
        print(HINT, file=sys.stderr)
        raise SystemExit(1)
    print(f"gradleak: {len(absent)} updates of the run were not understood; the others go on", flush=True)
    return True


def prospects_of(plan: Plan) -> dict[str, str]:
    """Attack → the best prospect of all updates: good, poor or none."""
    found: dict[str, str] = {}
    for path in filter(Path.exists, prospect_files(plan)):
        for row in read_json(path):
            known = found.get(row["attack"], "none")
            found[row["attack"]] = min(known, row["expect"], key=("good", "poor", "none").index)
    return found


def seeds_within(plan: Plan, seconds: float, cores: int) -> int:
    """How many seeds fit in ``seconds`` more than the one that ran, by the times that its jobs took."""
    past = Past(BENCHMARKS)
    rules = {"labels": "recover_labels", "dlg": "invert_pixels"}
    each = 0.0
    for cell, _ in plan.asked():
        attack = plan.cells[cell].attack
        for rule in (rules.get(attack, f"invert_{attack}"), "score"):
            each += past.seconds(Job(rule, cell, "")) or 0.0
    return 1 + int(SPENT * seconds * cores / each) if each else 1


def first_files(plan: Plan) -> list[str]:
    """The scores of what comes first in a recorded run: span inversion, which certifies. Of one update all
    attacks run together.
    """
    if not any(target.recorded for target in plan.targets.values()):
        return []
    return [
        f"results/scores/{cell}/{block}.json"
        for cell, block in plan.asked()
        if plan.cells[cell].attack == "span" and plan.cells[cell].options.control == "none"
    ]


def all_certified(verdict: dict[str, Any]) -> bool:
    """Whether every image is certified, so that further seeds can show no more."""
    return verdict["inputs_certified"] == samples_of(verdict)


def samples_of(verdict: dict[str, Any]) -> int:
    return verdict["samples"] if isinstance(verdict["samples"], int) else verdict["samples"]["value"]


def run(arguments: Arguments, cores: int, further: list[str]) -> None:
    """The audit. Raises AuditError and ConfigError before anything runs."""
    work = Run(cores, time.monotonic() + 60 * arguments.minutes, further)
    checked(arguments)
    mapped = write(audit_config(arguments, None))
    unmapped = has_unmapped(work, mapped)
    prospects = prospects_of(mapped)
    plan = write(audit_config(arguments, prospects))
    first = first_files(plan)
    complete = all(
        work.snakemake(*files, may_fail=unmapped) for files in ([["--", *first]] if first else []) + [[]]
    )
    if complete and not unmapped and work.left > LEAST and not all_certified(read_json(VERDICT)):
        seeds = min(seeds_within(plan, work.left, cores), MOST_SEEDS)
        if seeds > 1:
            print(
                f"gradleak: {work.left / 60:.1f} minutes are left: {seeds} seeds of each attack", flush=True
            )
            write(audit_config(arguments, prospects, seeds))
            complete = work.snakemake()
    if not complete:
        print(
            f"gradleak: {arguments.minutes:g} minutes are over; the verdict is on what is finished",
            flush=True,
        )
    if unmapped or not complete:
        work.snakemake("--config", "partial=true", limited=False)
    if not VERDICT.exists():
        raise AuditError(
            f"MINUTES={arguments.minutes:g}: no attack finished in this time. Finished jobs are kept: run "
            f"the same command with more, such as MINUTES={2 * arguments.minutes:g}"
        )
    show(read_json(VERDICT))


def show(verdict: dict[str, Any], say: Callable[[str], None] = print) -> None:
    """The verdict in one line, and where the rest is."""
    certified = verdict["inputs_certified"]
    say("")
    say(
        f"Verdict: {verdict['verdict']}. Images: {samples_of(verdict)}. Certified: "
        f"{'not known' if certified is None else certified}."
    )
    say(f"Report:  {Path('results/report.html').resolve()}")
    say(f"Numbers: {VERDICT.resolve()}")
    say(f"Config:  {CONFIG.resolve()} (copy and edit it for other attacks or settings of the target)")


def parsed(given: list[str]) -> tuple[Arguments, int, list[str]]:
    """The arguments, the cores, and what is Snakemake's. Raises AuditError."""
    parser = argparse.ArgumentParser(prog="make audit", allow_abbrev=False)
    for name in ("leak", "public", "truth", "samples", "minutes"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    known, further = parser.parse_known_args(given)
    numbers = {
        "samples": _positive("SAMPLES", known.samples, int) if known.samples else None,
        "minutes": _positive("MINUTES", known.minutes or "10", float),
    }
    return Arguments(known.leak, known.public, known.truth, **numbers), known.cores, further


def _positive(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if not 0 < number < 1e6:
        raise AuditError(f"{name}={text}: must be a {'whole ' if kind is int else ''}number above 0")
    return number


def main(given: list[str]) -> None:
    signal.signal(signal.SIGTERM, _terminate)
    try:
        run(*parsed(given))
    except Terminated:  # between two runs of Snakemake
        raise SystemExit(143) from None
    except (AuditError, configuration.ConfigError) as error:
        raise SystemExit(f"make audit: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
