"""Files of a block → the Problem of its trials; the Inversion that an attack returns → files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gradleak import records
from gradleak.attacks import inversion_files
from gradleak.attacks.problem import Inversion, Members, Problem
from gradleak.evaluation.truth import class_counts, load_truth
from gradleak.files import read_npz
from gradleak.images import to_float
from gradleak.jobs.job import log, stop_if_asked
from gradleak.jobs.public_pool import public_pool
from gradleak.losses import BINARY
from gradleak.mapping.files import MappedBlock, gradients_of, model_of, read_block
from gradleak.optim.limits import Limits

REASONS = {"ok": "", "diverged": "no finite objective", "not applicable": "the label method gave no counts"}


def load_problem(snakemake: Any) -> Problem:
    """The Problem of a block from the inputs of its rule.

    It needs mapping. If given, it reads public, labels (estimated counts) or truth (oracle), and members.
    """
    params, inputs = snakemake.params, snakemake.input
    mapped = [read_block(file) for file in inputs.mapping]  # each holds a run of draws
    model, first = model_of(mapped[0]), mapped[0]
    public = public_pool(inputs, model.input_shape[1:], model.output_shape[-1])
    return Problem(
        model=model,
        gradients=gradients_of(mapped, params.draws),
        layer=first.layer,
        samples=first.samples,
        seeds=list(params.seeds),
        counts=_counts(inputs, params.draws, first, model.output_shape[-1]),
        public=to_float(public.x),
        public_labels=public.y,
        rounding=first.rounding,
        noise=first.noise,
        steps=first.steps,
        members=_members(inputs),
        scale_confidence=first.scale_confidence,
        coupled=first.coupled,
        has_statistics=first.has_statistics,
        loss=first.loss,
    )


def _counts(inputs: Any, draws: list[int], block: MappedBlock, classes: int) -> np.ndarray | None:
    """Images per class int [T, C]: estimated ones, the true ones of oracle cells, or None. Without an
    estimate they are 0, or −1 where an image may have no label.
    """
    if inputs.get("labels"):
        found = read_npz(inputs.labels[0])
        no_estimate = np.isnan(found["raw"]).all(axis=1, keepdims=True)
        return np.where(no_estimate & (block.loss == BINARY), -1, found["counts"])
    if inputs.get("truth"):
        _, labels = load_truth(list(inputs.truth), draws)
        return np.stack([class_counts(y, classes) for y in labels])
    return None


def _members(inputs: Any) -> Members | None:
    """The images that a span cell certified in the same updates, with a label, or None."""
    if not inputs.get("members"):
        return None
    found = inversion_files.read(inputs.members[0])
    return Members(found.images, found.labels, found.accepted & (found.labels >= 0))


def checkpoint(snakemake: Any) -> Path:
    """The folder of a block's unfinished work. Its name holds a digest of all that the results depend on.

    It is no output of the rule: Snakemake would delete it before a restart.
    """
    params = snakemake.params
    key = records.digest(params.spec, params.code, list(params.seeds), list(params.draws))
    return Path("results/checkpoints") / snakemake.wildcards.cell / f"{snakemake.wildcards.block}-{key}"


def limits(snakemake: Any) -> Limits:
    """How much a job may compute side by side. The memory of a GPU is not bounded by the rule's resources."""
    has_gpu = tf.config.list_physical_devices("GPU")
    return Limits(snakemake.resources.trials_at_once, 0 if has_gpu else 1e6 * snakemake.resources.mem_mb)


def forget(folder: Path) -> None:
    """Delete the checkpoint of a block that is written."""
    shutil.rmtree(folder, ignore_errors=True)


def progress(label: str) -> Callable[[int, int, np.ndarray], None]:
    """A callback that logs step, losses and the remaining time.

    Attacks call it after they have saved their state, so the job may stop there.
    """
    began = time.monotonic()

    def report(step: int, total: int, losses: np.ndarray) -> None:
        elapsed = time.monotonic() - began
        left = elapsed / max(step, 1) * (total - step)
        log.info(
            "%s  step %d/%d  loss median %.4g  best %.4g  %.0f s done, about %.0f s left",
            label,
            step,
            total,
            np.nanmedian(losses),
            np.nanmin(losses),
            elapsed,
            left,
        )
        stop_if_asked()

    return report


def note(message: str, *values: Any) -> None:
    """As ``log.info``, at a point where the job may stop."""
    log.info(message, *values)
    stop_if_asked()


def write_inversion(snakemake: Any, inversion: Inversion, began: float) -> None:
    """Write the two files of an attack's block: the reconstructions, and the record."""
    file = inversion_files.InversionFile(
        images=inversion.images,
        labels=inversion.labels,
        seeds=inversion.seeds,
        objective=inversion.objective,
        accepted=inversion.accepted,
        certificates=inversion.certificates,
    )
    inversion_files.write(snakemake.output.inversion, file)
    columns = (
        inversion.seeds,
        snakemake.params.draws,
        inversion.status,
        inversion.objective,
        inversion.history,
        inversion.notes or [[]] * len(inversion.seeds),
    )
    trials = [
        records.trial(
            seed,
            draw,
            status,
            inversion.reason or REASONS.get(status, status),
            objective,
            records.thin(inversion.history_steps, curve),
        )
        | ({"notes": notes} if notes else {})
        for seed, draw, status, objective, curve, notes in zip(*columns, strict=True)
    ]
    records.write(snakemake, trials, began, inversion.seconds)
