"""The plan's cells → results/cells.csv, for people who meet an id."""

from gradleak import jobs
from gradleak.files import replacing


def main(snakemake) -> None:
    with replacing(snakemake.output.cells) as temporary:
        temporary.write_text(snakemake.params.text)


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
