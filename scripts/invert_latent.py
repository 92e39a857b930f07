"""Latent inversion on one block of seeds."""

import time

from gradleak import jobs, vae
from gradleak.attacks import latent
from gradleak.files import read_npz


def main(snakemake) -> None:
    began = time.monotonic()
    from gradleak import inversions  # imports TensorFlow: only now is the log open

    problem = inversions.load_problem(snakemake)
    options = latent.Options(**snakemake.params.spec)
    _, decoder = vae.load_networks(
        vae.Options(**snakemake.params.prior), problem.shape, read_npz(snakemake.input.prior)
    )
    checkpoint = inversions.checkpoint(snakemake)
    progress = inversions.progress(f"latent {snakemake.wildcards.cell}")
    found = latent.invert(problem, options, decoder, checkpoint, progress, inversions.limits(snakemake))
    inversions.write_inversion(snakemake, found, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with jobs.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
