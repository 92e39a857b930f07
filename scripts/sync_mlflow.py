"""Finished trials → MLflow. Running it again changes nothing; a lost database is rebuilt in full."""

from pathlib import Path

from gradleak import jobs, tables, tracking
from gradleak.files import write_json


def main(snakemake) -> None:
    blocks = {
        (cell, block): (record, pairs)
        for (cell, block), record, pairs in zip(
            snakemake.params.blocks, snakemake.input.records, snakemake.input.pairs, strict=True
        )
    }
    done = tracking.sync(
        snakemake.params.uri, tables.read(snakemake.input.trials), tables.read(snakemake.input.cells), blocks,
        snakemake.params.cells, snakemake.params.descriptions, jobs.log.info,
        Path(snakemake.output.marker).with_name("seen.json"), snakemake.params.prune,
        [*snakemake.input.figures, *(snakemake.input[name] for name in ("headline", "cells", "effects"))],
    )  # fmt: skip
    jobs.log.info("%s", done)
    write_json(snakemake.output.marker, {"uri": snakemake.params.uri, **done})


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
