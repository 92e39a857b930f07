"""Tables, figures and mapping findings → results/report.html, one file that needs nothing else."""

from pathlib import Path

from gradleak.evaluation import provenance, report, tables
from gradleak.files import read_json, replacing
from gradleak.jobs import job

VERDICT = Path("results/tables/verdict.json")


def main(snakemake) -> None:
    inputs, params = snakemake.input, snakemake.params
    made_from = [inputs.headline, inputs.cells, inputs.trials, inputs.effects, *inputs.gradients]
    mappings = {
        name: read_json(path) | {"prospects": read_json(prospects)}
        for name, path, prospects in zip(params.mapped, inputs.mappings, inputs.prospects, strict=True)
    }
    accuracy = {Path(path).stem: read_json(path)["accuracy_on_public"] for path in inputs.references}
    recovered = {cell: read_json(path) for cell, path in zip(params.recorded, inputs.recovered, strict=True)}
    page = report.render(
        report.Report(
            **{name: tables.read(inputs[name]) for name in ("cells", "trials", "headline", "effects")},
            figures=[Path(path) for path in inputs.figures],
            mappings=mappings,
            mapping_figures=[Path(path) for path in inputs.mapping_figures],
            prior_figures=[Path(path) for path in inputs.prior_figures],
            recovered=recovered,
            verdict=read_json(inputs.verdict[0]) if inputs.get("verdict") else None,
            reference_accuracy=accuracy,
            descriptions=params.descriptions,
            settings=params.settings,
            provenance=provenance.collect(
                inputs.records, made_from, list(inputs.figures), list(params.descriptions)
            ),
        )
    )
    if not inputs.get("verdict"):  # that of an earlier study would be taken for this one's
        VERDICT.unlink(missing_ok=True)
    with replacing(snakemake.output.report) as temporary:
        temporary.write_text(page, encoding="utf-8")


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
