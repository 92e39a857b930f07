"""Tables, matched pairs and records → one figure."""

from functools import partial

from gradleak.evaluation import figures, tables
from gradleak.files import read_json, read_npz
from gradleak.jobs import job


def main(snakemake) -> None:
    frames = {name: tables.read(snakemake.input[name]) for name in ("trials", "cells", "labels", "effects")}
    pairs, records = (
        {cell: partial(read, file) for cell, file in zip(snakemake.params.pair_cells, files, strict=True)}
        for read, files in ((read_npz, snakemake.input.pairs), (read_json, snakemake.input.records))
    )
    figures.save(
        figures.FIGURES[snakemake.wildcards.figure](frames, pairs, records),
        snakemake.output.figure,
        snakemake.output.vector,
    )


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
