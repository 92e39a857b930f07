"""Finished trials → MLflow. Running it again changes nothing; a lost database is rebuilt in full."""

from pathlib import Path

from gradleak.evaluation import tables
from gradleak.files import write_json
from gradleak.jobs import job
from gradleak.tracking import sync


def main(snakemake) -> None:
    blocks = {
        (cell, block): (record, pairs)
        for (cell, block), record, pairs in zip(
            snakemake.params.blocks, snakemake.input.records, snakemake.input.pairs, strict=True
        )
    }
    done = sync.sync(
        snakemake.params.uri,
        tables.read(snakemake.input.trials),
        tables.read(snakemake.input.cells),
        blocks,
        snakemake.params.cells,
        snakemake.params.descriptions,
        job.log.info,
        Path(snakemake.output.marker).with_name("seen.json"),
        snakemake.params.prune,
        [*snakemake.input.figures, *(snakemake.input[name] for name in ("headline", "cells", "effects"))],
    )
    job.log.info("%s", done)
    write_json(snakemake.output.marker, {"uri": snakemake.params.uri, **done})


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
