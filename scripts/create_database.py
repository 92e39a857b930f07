"""The schema of the SQLite tracking database, made once and before anything could race for it."""

from pathlib import Path

from gradleak import jobs, tracking


def main(snakemake) -> None:
    Path(snakemake.output.database).parent.mkdir(parents=True, exist_ok=True)
    tracking.create_schema(f"sqlite:///{snakemake.output.database}")


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
