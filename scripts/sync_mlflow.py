"""Results → MLflow. A second run changes nothing; a lost database is rebuilt completely."""

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
    results = sync.Results(
        tables.read(snakemake.input.trials),
        tables.read(snakemake.input.cells),
        blocks,
        snakemake.params.cells,
        snakemake.params.descriptions,
        [*snakemake.input.figures, *(snakemake.input[name] for name in ("headline", "cells", "effects"))],
    )
    seen = Path(snakemake.output.marker).with_name("seen.json")
    done = sync.sync(snakemake.params.uri, results, job.log.info, seen, snakemake.params.prune)
    job.log.info("%s", done)
    write_json(snakemake.output.marker, {"uri": snakemake.params.uri, **done})


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
