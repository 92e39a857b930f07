"""All scores and records of the selected studies → results/tables/."""

from gradleak.evaluation import comparisons, latex, tables
from gradleak.files import replacing
from gradleak.jobs import job


def main(snakemake) -> None:
    blocks = [
        {"cell": cell, "block": block, "record": record, "rows": rows}
        for (cell, block), record, rows in zip(
            snakemake.params.blocks, snakemake.input.records, snakemake.input.rows, strict=True
        )
    ]
    trials = tables.trials(snakemake.params.cells, blocks, snakemake.params.studies, snakemake.params.missing)
    cells = tables.cells(trials)
    headline = comparisons.headline(cells)
    for name, table in (
        ("trials", trials),
        ("cells", cells),
        ("labels", tables.labels(trials, blocks)),
        ("headline", headline),
        ("effects", comparisons.effects(trials)),
    ):
        with replacing(snakemake.output[name]) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        job.log.info("%s: %d rows", name, len(table))
    with replacing(snakemake.output.latex) as temporary:
        temporary.write_text(latex.table(headline), encoding="utf-8")


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
