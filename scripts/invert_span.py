"""Span inversion on one block of seeds."""

import time

from gradleak.attacks.problem import not_applicable
from gradleak.attacks.span.options import SpanOptions
from gradleak.files import read_npz
from gradleak.jobs import job
from gradleak.priors.options import VaeOptions


def main(snakemake) -> None:
    began = time.monotonic()
    # TensorFlow is imported here, now that the log is open.
    from gradleak.attacks.span import attack
    from gradleak.jobs import inversions

    problem = inversions.load_problem(snakemake)
    options = SpanOptions(**snakemake.params.spec)
    decoder = None
    if snakemake.params.prior:
        from gradleak.priors import vae

        prior, arrays = VaeOptions(**snakemake.params.prior), read_npz(snakemake.input.prior[0])
        try:
            _, decoder = vae.load_networks(prior, problem.shape, arrays)
        except vae.OtherShape as error:
            return inversions.write_inversion(snakemake, not_applicable(problem, str(error)), began)
    checkpoint = inversions.checkpoint(snakemake)
    inversion = attack.invert(problem, options, decoder, checkpoint, inversions.note)
    inversions.write_inversion(snakemake, inversion, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
