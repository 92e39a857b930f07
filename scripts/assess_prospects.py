"""A mapped block and its findings → what each attack can expect of it. For the report alone."""

from gradleak.files import read_json, write_json
from gradleak.jobs import job
from gradleak.mapping.files import read_block
from gradleak.mapping.preflight import prospects, update_of


def main(snakemake) -> None:
    block, report = read_block(snakemake.input.gradients), read_json(snakemake.input.report)
    rows = prospects(update_of(block, report))
    write_json(snakemake.output.prospects, rows)
    for row in rows:
        job.log.info("prospect of %(attack)s: %(expect)s (%(why)s)", row)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
