"""Tables, matched pairs and records → one figure."""

from gradleak import figures, jobs, tables
from gradleak.files import read_json, read_npz


def main(snakemake) -> None:
    frames = {name: tables.read(snakemake.input[name]) for name in ("trials", "cells", "labels")}
    pairs = {
        cell: (lambda file=file: read_npz(file))
        for cell, file in zip(snakemake.params.pair_cells, snakemake.input.pairs, strict=True)
    }
    records = {
        cell: (lambda file=file: read_json(file))
        for cell, file in zip(snakemake.params.pair_cells, snakemake.input.records, strict=True)
    }
    figures.save(figures.FIGURES[snakemake.wildcards.figure](frames, pairs, records), snakemake.output.figure)


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
