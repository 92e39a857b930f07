"""Span inversion on one block of seeds."""

import time

from gradleak import jobs, vae
from gradleak.attacks import span
from gradleak.files import read_npz


def main(snakemake) -> None:
    began = time.monotonic()
    from gradleak import inversions  # imports TensorFlow: only now is the log open

    problem = inversions.load_problem(snakemake)
    options = span.Options(**snakemake.params.spec)
    decoder = None
    if snakemake.params.prior:
        decoder = vae.load_networks(
            vae.Options(**snakemake.params.prior), problem.shape, read_npz(snakemake.input.prior[0])
        )[1]
    checkpoint = inversions.checkpoint(snakemake)
    found = span.invert(problem, options, decoder, checkpoint, inversions.note)
    inversions.write_inversion(snakemake, found, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with jobs.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
