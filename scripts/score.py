"""Reconstructions or label counts + truth → metrics per trial. The first stage that reads the truth."""

import numpy as np

from gradleak import records
from gradleak.attacks import inversion_files
from gradleak.datasets.description import read_description
from gradleak.datasets.pools import read_pool
from gradleak.evaluation import reference_classifier, scoring
from gradleak.evaluation.truth import load_truth
from gradleak.files import read_npz, write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job
from gradleak.mapping.files import read_classes


def references_of(inputs) -> scoring.References:
    """The reference classifier, the public images and what is known about them, where the target has any."""
    if not inputs.get("public"):
        return scoring.References()
    public = to_float(read_pool(inputs.public).x).astype(np.float64)
    return scoring.References(
        reference_classifier.load(inputs.reference), public, read_description(inputs.description)
    )


def main(snakemake) -> None:
    inputs, draws = snakemake.input, snakemake.params.draws
    trials = records.read(inputs.record)["trials"]
    files = list(inputs.get("truth", []))
    truth = scoring.Truth(*load_truth(files, draws)) if files else None
    classes = read_classes(inputs.mapping[0])
    pairs: dict[str, np.ndarray] = {}
    if snakemake.params.attack == "labels":
        rows = scoring.score_labels(read_npz(inputs.result), truth and truth.y, trials)
    elif truth is None:
        found = inversion_files.read(inputs.result)
        rows, pairs = scoring.without_truth(found, trials, classes, references_of(inputs))
    else:
        found = inversion_files.read(inputs.result)
        rows, pairs = scoring.score_images(found, truth, trials, references_of(inputs), classes)
        if inputs.get("ceiling"):
            ceilings = scoring.prior_ceilings([read_npz(file) for file in inputs.ceiling], draws)
            rows = [row | {"prior_ceiling_psnr": best} for row, best in zip(rows, ceilings, strict=True)]
    write_json(snakemake.output.rows, rows)
    write_npz(snakemake.output.pairs, **pairs)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
