"""Last layer of the mapped updates → class counts per trial. Needs no TensorFlow."""

import time
from typing import Any

import numpy as np

from gradleak import records
from gradleak.files import read_json, read_npz, write_npz
from gradleak.jobs import job
from gradleak.labels.evidence import LEVELS
from gradleak.labels.options import LabelOptions
from gradleak.labels.recovery import Source, recover_block
from gradleak.losses import loss_named
from gradleak.mapping.files import read_block


def main(snakemake) -> None:
    began = time.monotonic()
    inputs, params = snakemake.input, snakemake.params
    shadows = [read_npz(file) for file in inputs.get("shadow", [])] or [None] * len(inputs.mapping)
    sources = (
        _source(mapping, read_json(report), shadow)
        for mapping, report, shadow in zip(inputs.mapping, inputs.report, shadows, strict=True)
    )
    certified = [read_npz(file) for file in inputs.get("members", [])]
    method = LabelOptions(**params.spec).method
    found = recover_block(method, sources, np.array(params.draws), certified[0] if certified else None)
    arrays = found.arrays(len(params.draws))
    write_npz(snakemake.output.labels, **arrays, levels=np.array(LEVELS), seeds=np.array(params.seeds))
    trials = [
        records.trial(seed, draw, "not applicable" if reason else "ok", reason)
        for seed, draw, reason in zip(
            params.seeds, params.draws, found.reasons_of(len(params.draws)), strict=True
        )
    ]
    records.write(snakemake, trials, began, {})


def _source(mapping: str, report: dict[str, Any], shadow: dict[str, np.ndarray] | None) -> Source:
    block = read_block(mapping)
    # Where the loss has the smoothing, the methods that read it may be used.
    is_smoothed = bool(report["smoothing"]["value"]) and not loss_named(block.loss).smoothing
    return Source(block, report["metadata"]["read"], shadow, is_smoothed)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
