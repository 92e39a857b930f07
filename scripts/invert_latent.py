"""Latent inversion on one block of seeds."""

import time

from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.attacks.problem import not_applicable
from gradleak.files import read_npz
from gradleak.jobs import job
from gradleak.optim.resources import Resources
from gradleak.priors.options import VaeOptions


def main(snakemake) -> None:
    began = time.monotonic()
    # These import TensorFlow: only now is the log open.
    from gradleak.attacks.matching import latent
    from gradleak.jobs import inversions
    from gradleak.priors import vae

    problem = inversions.load_problem(snakemake)
    options = LatentOptions(**snakemake.params.spec)
    prior, arrays = VaeOptions(**snakemake.params.prior), read_npz(snakemake.input.prior)
    try:
        _, decoder = vae.load_networks(prior, problem.shape, arrays)
    except vae.OtherShape as error:
        return inversions.write_inversion(snakemake, not_applicable(problem, str(error)), began)
    checkpoint = inversions.checkpoint(snakemake)
    progress = inversions.progress(f"latent {snakemake.wildcards.cell}")
    resources = Resources(checkpoint, progress=progress, limits=inversions.limits(snakemake))
    found = latent.invert(problem, options, decoder, resources)
    inversions.write_inversion(snakemake, found, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
