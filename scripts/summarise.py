"""All scores and records of the selected studies → results/tables/."""

from gradleak import jobs, tables
from gradleak.files import replacing


def main(snakemake) -> None:
    blocks = [
        {"cell": cell, "block": block, "record": record, "rows": rows}
        for (cell, block), record, rows in zip(
            snakemake.params.blocks, snakemake.input.records, snakemake.input.rows, strict=True
        )
    ]
    trials = tables.trials(snakemake.params.cells, blocks, snakemake.params.studies)
    for name, table in (
        ("trials", trials),
        ("cells", tables.cells(trials)),
        ("labels", tables.labels(trials, blocks)),
    ):
        with replacing(snakemake.output[name]) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        jobs.log.info("%s: %d rows", name, len(table))


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
