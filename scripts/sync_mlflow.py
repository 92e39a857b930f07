"""Results → MLflow. A second run changes nothing; a lost database is rebuilt completely."""

import os
from pathlib import Path

from gradleak.evaluation import tables
from gradleak.files import write_json
from gradleak.jobs import job
from gradleak.tracking import addresses, sync


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
    uri = addresses.chosen(snakemake.config, os.environ)
    try:
        done = sync.sync(uri, results, job.log.info, seen, snakemake.params.prune)
    except Exception as error:  # of many libraries, whose messages name the URI
        safe = addresses.without_passwords(str(error), uri)
        if safe == str(error):
            raise
        raise RuntimeError(safe) from None
    job.log.info("%s", done)
    write_json(snakemake.output.marker, {"uri": snakemake.params.uri, **done})


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
