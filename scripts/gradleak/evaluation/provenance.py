"""What a report was made from: revision, packages, machines, hashes, and the commands that make it again."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradleak import records as block_records

PROJECT = Path(__file__).parents[3]  # not the working directory: Snakemake may run elsewhere
LOCK = PROJECT / "envs" / "requirements.lock"


@dataclass(frozen=True)
class Provenance:
    facts: dict[str, str]  # name → what it is, for people
    commands: str  # of a shell, one a line
    files: dict[str, str]  # path → its SHA-256


def collect(
    records: Iterable[str], files: Iterable[str], figures: Sequence[str], studies: Sequence[str]
) -> Provenance:
    """The provenance of a report.

    records: paths of records, which say where the attacks ran. files: paths to hash. figures: paths that can
    be made again alone. studies: the selected ones.
    """
    environments = [block_records.read(path)["environment"] for path in records]
    versions = {" ".join(f"{k} {v}" for k, v in one.items() if k != "host") for one in environments}
    facts = {
        "code, git revision": _git("describe", "--always", "--dirty", "--abbrev=40") or "no git repository",
        "packages": f"{LOCK.name}, SHA-256 {_sha256(LOCK)}",
        "versions": "; ".join(sorted(versions)),
        "hosts": ", ".join(sorted({one["host"] for one in environments})),
    }
    return Provenance(facts, commands(figures, studies), {path: _sha256(Path(path)) for path in files})


def commands(figures: Sequence[str], studies: Sequence[str]) -> str:
    """The commands that make the whole of ``studies`` again, and ``figures`` alone."""
    chosen = studies[0] if len(studies) == 1 else f"'[{', '.join(studies)}]'"
    run = f"snakemake --cores 2 --config study={chosen}"
    return f"{run}    # everything, the report last\n{run} -- {' '.join(figures)}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*arguments: str) -> str:
    """What git prints; empty without git or a repository, as in an unpacked archive."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=PROJECT)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
