"""DLG on one block of seeds."""

import time

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.jobs import job
from gradleak.optim.resources import Resources


def main(snakemake) -> None:
    began = time.monotonic()
    # These import TensorFlow: only now is the log open.
    from gradleak.attacks.matching import dlg
    from gradleak.jobs import inversions

    problem = inversions.load_problem(snakemake)
    options = DlgOptions(**snakemake.params.spec)
    checkpoint = inversions.checkpoint(snakemake)
    progress = inversions.progress(f"dlg {snakemake.wildcards.cell}")
    resources = Resources(checkpoint, progress=progress, limits=inversions.limits(snakemake))
    found = dlg.invert(problem, options, resources)
    inversions.write_inversion(snakemake, found, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
