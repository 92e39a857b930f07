"""Tables, figures and mapping findings → results/report.html, one file that needs nothing else."""

import hashlib
import subprocess
from pathlib import Path

from gradleak.evaluation import report, tables
from gradleak.files import read_json, replacing
from gradleak.jobs import job

PROJECT = Path(report.__file__).parents[3]  # Snakemake runs a copy of this script from elsewhere


def provenance(snakemake) -> dict:
    """What made the page: revision, environment, machines, hashes, and the commands that make it again."""
    records = [read_json(path) for path in snakemake.input.records]
    environments = {" ".join(f"{k} {v}" for k, v in r["environment"].items() if k != "host") for r in records}
    hosts = sorted({r["environment"]["host"] for r in records})
    lock = PROJECT / "envs" / "requirements.lock"
    facts = {
        "code, git revision": _git("describe", "--always", "--dirty", "--abbrev=40") or "no git repository",
        "packages": f"{lock.name}, SHA-256 {_sha256(lock)}",
        "versions": "; ".join(sorted(environments)),
        "hosts": ", ".join(hosts),
    }
    figures = " ".join(str(path) for path in snakemake.input.figures)
    study = " ".join(snakemake.params.descriptions)
    chosen = (
        f"--config study={study}"
        if len(snakemake.params.descriptions) == 1
        else f"--config study='[{study.replace(' ', ', ')}]'"
    )
    commands = f"snakemake --cores 2 {chosen}    # all of it, this page last\nsnakemake --cores 2 {chosen} -- {figures}"
    read = [
        snakemake.input.headline,
        snakemake.input.cells,
        snakemake.input.trials,
        snakemake.input.effects,
        *snakemake.input.gradients,
    ]
    return {"facts": facts, "commands": commands, "files": {path: _sha256(Path(path)) for path in read}}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*arguments: str) -> str:
    """What git says, empty without git or a repository: results also come out of unpacked archives."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=PROJECT)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main(snakemake) -> None:
    page = report.render(
        cells=tables.read(snakemake.input.cells),
        trials=tables.read(snakemake.input.trials),
        headline=tables.read(snakemake.input.headline),
        effects=tables.read(snakemake.input.effects),
        figures=[Path(path) for path in snakemake.input.figures],
        mappings={
            target: read_json(path) | {"prospects": read_json(rows)}
            for target, path, rows in zip(
                snakemake.params.mapped, snakemake.input.mappings, snakemake.input.prospects, strict=True
            )
        },
        mapping_figures=[Path(path) for path in snakemake.input.mapping_figures],
        prior_figures=[Path(path) for path in snakemake.input.prior_figures],
        reference={
            Path(path).stem: read_json(path)["accuracy_on_public"] for path in snakemake.input.references
        },
        descriptions=snakemake.params.descriptions,
        settings=snakemake.params.settings,
        provenance=provenance(snakemake),
    )
    with replacing(snakemake.output.report) as temporary:
        temporary.write_text(page)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
