"""Artifacts of a block of draws → gradients in the model's order, with sign, scale, rank and the evidence."""

from pathlib import Path
from typing import Any

import numpy as np

from gradleak.artifacts.leak import read_leak
from gradleak.datasets.pools import read_pool
from gradleak.files import write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.errors import MappingError
from gradleak.mapping.files import MappedBlock, trainable_places, write_block
from gradleak.mapping.preprocess import Preprocess, preprocessed
from gradleak.mapping.settle import Mapping, settle

LOGGED = (
    "sign",
    "scale",
    "samples",
    "optimizer",
    "loss",
    "weights",
    "smoothing",
    "weight_decay",
    "noise",
    "clipping",
    "entry_clipping",
    "quantisation",
    "sparsity",
    "precision",
    "batch_norm",
)


def block_of(found: Mapping, draws: list[int]) -> MappedBlock:
    """The mapping as it is written."""
    return MappedBlock(
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
        head=found.head,
        no_head=found.no_head,
        draws=np.array(draws),
        scale_confidence=found.scale_confidence,
        coupled=found.coupled,
        has_statistics=found.has_statistics,
        loss=found.loss,
    )


def log(report: dict[str, Any]) -> None:
    """The findings, in the job's log."""
    for key in LOGGED:
        job.log.info("%s: %s (%s)", key, report[key]["value"], report[key]["evidence"])
    job.log.info(report["verdict"])
    for line in report["contradictions"]:
        job.log.warning("contradiction: %s", line)


def main(snakemake) -> None:
    folders = sorted(path for path in Path(snakemake.input.artifacts).glob("draw-*") if path.is_dir())
    public = read_pool(snakemake.input.public) if snakemake.input.get("public") else None
    x, y = (None, None) if public is None else (to_float(public.x), public.y)
    stated = snakemake.params.preprocess
    preprocess = None if stated is None else Preprocess(**stated)
    claims = UserClaims(**snakemake.params.user_claims)
    try:
        leaks = [preprocessed(read_leak(one), preprocess) for one in folders]
        found = settle(leaks, x, y, claims)
    except MappingError as error:
        raise MappingError(
            f"{snakemake.input.artifacts}: the update cannot be mapped to the model: {error}"
        ) from None
    draws = [int(folder.name.removeprefix("draw-")) for folder in folders]
    write_block(snakemake.output.gradients, block_of(found, draws))
    write_json(snakemake.output.report, found.report)
    floors = {f"floor:{name}": limit for name, limit in found.floor.items()}
    write_npz(snakemake.output.spectrum, **found.singular, **floors)
    log(found.report)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
