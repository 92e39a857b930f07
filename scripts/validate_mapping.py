"""Artifacts of a run of draws → pseudo-gradients in the model's order, with sign, scale, rank and the evidence."""

from pathlib import Path

import numpy as np

from gradleak import artifacts, mapping
from gradleak.errors import UserError
from gradleak.files import read_npz, write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job


def main(snakemake) -> None:
    folders = sorted(path for path in Path(snakemake.input.artifacts).glob("draw-*") if path.is_dir())
    leaks = [artifacts.read_leak(folder) for folder in folders]
    public = read_npz(snakemake.input.public)
    try:
        found = mapping.settle(leaks, to_float(public["x"]), public["y"], **snakemake.params.user_claims)
    except mapping.MappingError as error:
        raise UserError(
            f"{snakemake.input.artifacts}: the update cannot be mapped to the model: {error}"
        ) from None
    write_npz(
        snakemake.output.gradients,
        model=np.array(found.model.to_json()),
        **{f"weight_{i}": w for i, w in enumerate(found.model.get_weights())},
        **{f"gradient_{i}": g for i, g in enumerate(found.gradients)},
        trainable=np.array(
            [
                index
                for v in found.model.trainable_variables
                for index, w in enumerate(found.model.weights)
                if w is v
            ]
        ),
        layer=found.layer,
        samples=found.samples,
        public_softmax=found.public_softmax,
        rounding=found.rounding,
        noise=found.noise,
        steps=found.steps or 0,
        draws=np.array([int(folder.name.removeprefix("draw-")) for folder in folders]),
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
