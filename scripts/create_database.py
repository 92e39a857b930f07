"""The tables of the SQLite tracking database, made once and before any sync."""

from pathlib import Path

from gradleak.jobs import job
from gradleak.tracking import stores


def main(snakemake) -> None:
    Path(snakemake.output.database).parent.mkdir(parents=True, exist_ok=True)
    stores.create_schema(f"sqlite:///{snakemake.output.database}")


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
