"""Tables, matched pairs and records → one figure."""

from gradleak.evaluation.figures import draw, style
from gradleak.jobs import job


def main(snakemake) -> None:
    inputs = draw.read(snakemake.input, snakemake.params.cells)
    figure = draw.DRAW[snakemake.wildcards.figure](**inputs)
    style.save(figure, snakemake.output.figure, snakemake.output.vector)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
