"""DLG on one block of seeds."""

import time

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.jobs import job


def main(snakemake) -> None:
    began = time.monotonic()
    from gradleak.jobs import inversions  # imports TensorFlow: only now is the log open

    problem = inversions.load_problem(snakemake)
    options = DlgOptions(**snakemake.params.spec)
    checkpoint = inversions.checkpoint(snakemake)
    progress = inversions.progress(f"dlg {snakemake.wildcards.cell}")
    found = dlg.invert(problem, options, checkpoint, progress, inversions.limits(snakemake))
    inversions.write_inversion(snakemake, found, began)
    inversions.forget(checkpoint)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True, resumes=True):  # noqa: F821
        main(snakemake)  # noqa: F821
