"""Tables, mappings and prospects of one target from outside → results/tables/verdict.json."""

from gradleak.evaluation import tables
from gradleak.evaluation.verdict import Update, verdict
from gradleak.files import read_json, write_json
from gradleak.jobs import job


def main(snakemake) -> None:
    inputs, params = snakemake.input, snakemake.params
    updates = [
        Update(**stated, mapping=read_json(mapping), prospects=read_json(prospects))
        for stated, mapping, prospects in zip(params.updates, inputs.mappings, inputs.prospects, strict=True)
    ]
    trials, labels = tables.read(inputs.trials), tables.read(inputs.labels)
    found = verdict(params.target, trials, labels, updates, params.has_public, params.unmapped)
    write_json(snakemake.output.verdict, found)
    job.log.info("verdict: %s", found["verdict"])


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
