"""Tables, figures and mapping findings → results/report.html, one file that needs nothing else."""

from pathlib import Path

from gradleak import jobs, report, tables
from gradleak.files import read_json, replacing


def main(snakemake) -> None:
    page = report.render(
        cells=tables.read(snakemake.input.cells),
        trials=tables.read(snakemake.input.trials),
        figures=[Path(path) for path in snakemake.input.figures],
        mappings={
            target: read_json(path)
            for target, path in zip(snakemake.params.mapped, snakemake.input.mappings, strict=True)
        },
        mapping_figures=[Path(path) for path in snakemake.input.mapping_figures],
        prior_figures=[Path(path) for path in snakemake.input.prior_figures],
        judge={Path(path).stem: read_json(path)["accuracy_on_public"] for path in snakemake.input.judges},
        descriptions=snakemake.params.descriptions,
    )
    with replacing(snakemake.output.report) as temporary:
        temporary.write_text(page)


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
