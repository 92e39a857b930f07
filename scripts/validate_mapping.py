"""Artifacts of a run of draws → pseudo-gradients in the model's order, with sign, scale, rank and the evidence."""

from pathlib import Path

import numpy as np

from gradleak.artifacts.leak import read_leak
from gradleak.errors import UserError
from gradleak.files import read_npz, write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job
from gradleak.mapping.errors import MappingError
from gradleak.mapping.files import MappedBlock, trainable_places, write_block
from gradleak.mapping.settle import settle


def main(snakemake) -> None:
    folders = sorted(path for path in Path(snakemake.input.artifacts).glob("draw-*") if path.is_dir())
    leaks = [read_leak(folder) for folder in folders]
    public = read_npz(snakemake.input.public)
    try:
        found = settle(leaks, to_float(public["x"]), public["y"], **snakemake.params.user_claims)
    except MappingError as error:
        raise UserError(
            f"{snakemake.input.artifacts}: the update cannot be mapped to the model: {error}"
        ) from None
    write_block(
        snakemake.output.gradients,
        MappedBlock(
            model_json=found.model.to_json(),
            weights=found.model.get_weights(),
            gradients=found.gradients,
            trainable=trainable_places(found.model),
            layer=found.layer,
            samples=found.samples,
            public_softmax=found.public_softmax,
            rounding=found.rounding,
            noise=found.noise,
            steps=found.steps,
            draws=np.array([int(folder.name.removeprefix("draw-")) for folder in folders]),
        ),
    )
    write_json(snakemake.output.report, found.report)
    write_npz(
        snakemake.output.spectrum,
        **found.singular,
        **{f"floor:{name}": limit for name, limit in found.floor.items()},
    )
    for key in (
        "sign",
        "scale",
        "samples",
        "optimizer",
        "weights",
        "noise",
        "clipping",
        "sparsity",
        "precision",
    ):
        job.log.info("%s: %s (%s)", key, found.report[key]["value"], found.report[key]["evidence"])
    job.log.info(found.report["verdict"])
    for line in found.report["contradictions"]:
        job.log.warning("contradiction: %s", line)
    for row in found.report["preflight"]:
        job.log.info("prospect of %(attack)s: %(expect)s (%(why)s)", row)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
