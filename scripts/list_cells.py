"""The plan's cells → results/cells.csv: what each cell id stands for."""

from gradleak.files import replacing
from gradleak.jobs import job


def main(snakemake) -> None:
    with replacing(snakemake.output.cells) as temporary:
        temporary.write_text(snakemake.params.text, encoding="utf-8")


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
