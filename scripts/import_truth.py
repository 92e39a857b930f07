"""The user's truth for a local target → the format that scoring reads."""

import numpy as np

from gradleak.evaluation.truth_import import read_truth
from gradleak.files import write_npz
from gradleak.jobs import job
from gradleak.mapping.files import read_block


def main(snakemake) -> None:
    block = read_block(snakemake.input.gradients)
    x, y = read_truth(str(snakemake.input.truth), block)
    write_npz(snakemake.output.truth, x=x[None], y=y[None], draws=np.asarray(block.draws))
    job.log.info("%d private images, for the scoring alone", len(x))


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
