"""DLG on one block of seeds."""

import time

from gradleak import jobs
from gradleak.attacks import dlg


def main(snakemake) -> None:
    began = time.monotonic()
    problem = jobs.load_problem(snakemake)
    options = dlg.Options(**snakemake.params.spec)
    checkpoint = jobs.checkpoint(snakemake)
    found = dlg.invert(problem, options, checkpoint, jobs.progress(f"dlg {snakemake.wildcards.cell}"))
    jobs.write_inversion(snakemake, found, began)
    jobs.forget(checkpoint)


if "snakemake" in globals():
    with jobs.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
