"""A block's files → the Problem of its trials, and the Inversion that an attack makes of it → files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gradleak.attacks import inversion_files
from gradleak.attacks.problem import Inversion, Members, Problem
from gradleak.evaluation.truth import load_truth
from gradleak.files import read_npz
from gradleak.images import to_float
from gradleak.jobs import records
from gradleak.jobs.job import log, stop_if_asked
from gradleak.mapping.files import gradients_of, model_of, read_block
from gradleak.optim.limits import Limits

REASONS = {"ok": "", "diverged": "no finite objective", "not applicable": "the label method gave no counts"}


def load_problem(snakemake: Any) -> Problem:
    """The Problem of a block from a rule's inputs: mapping, public, and labels, truth or members if given."""
    params, inputs = snakemake.params, snakemake.input
    mapped = [read_block(file) for file in inputs.mapping]  # each holds a run of draws
    first = mapped[0]
    model = model_of(first)
    gradients = gradients_of(mapped, params.draws)
    counts = None
    if inputs.get("labels"):
        counts = read_npz(inputs.labels[0])["counts"]
    elif inputs.get("truth"):
        _, labels = load_truth(list(inputs.truth), params.draws)
        counts = np.stack([np.bincount(y, minlength=model.output_shape[-1]) for y in labels])
    public = read_npz(inputs.public)
    members = None
    if inputs.get("members"):
        found = inversion_files.read(inputs.members[0])
        members = Members(found.images, found.labels, found.accepted)
    return Problem(
        model,
        gradients,
        first.layer,
        first.samples,
        list(params.seeds),
        counts,
        to_float(public["x"]),
        public["y"],
        first.rounding,
        first.noise,
        first.steps,
        members,
    )


def checkpoint(snakemake: Any) -> Path:
    """The folder of a block's unfinished work. It is no declared output, so Snakemake does not delete it.

    Its name depends on options, code, seeds and draws.
    """
    params = snakemake.params
    key = records.digest(params.spec, params.code, list(params.seeds), list(params.draws))
    return Path("results/checkpoints") / snakemake.wildcards.cell / f"{snakemake.wildcards.block}-{key}"


def limits(snakemake: Any) -> Limits:
    """What a job may compute side by side. Of a GPU's memory the rule knows nothing."""
    has_gpu = tf.config.list_physical_devices("GPU")
    return Limits(snakemake.resources.trials_at_once, 0 if has_gpu else 1e6 * snakemake.resources.mem_mb)


def forget(folder: Path) -> None:
    """The block is written: its checkpoint has done its work."""
    shutil.rmtree(folder, ignore_errors=True)


def progress(label: str) -> Callable[[int, int, np.ndarray], None]:
    """A callback that logs step, loss and remaining time. The state has just been saved."""
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
    """``log.info``, at a place where the job may stop."""
    log.info(message, *values)
    stop_if_asked()


def write_inversion(snakemake: Any, inversion: Inversion, began: float) -> None:
    """The two files of an attack block: the reconstructions, and the record."""
    inversion_files.write(
        snakemake.output.inversion,
        inversion_files.InversionFile(
            inversion.images,
            inversion.labels,
            inversion.seeds,
            inversion.objective,
            inversion.accepted,
            inversion.certificates,
        ),
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
        for seed, draw, status, objective, curve in zip(
            inversion.seeds,
            snakemake.params.draws,
            inversion.status,
            inversion.objective,
            inversion.history,
            strict=True,
        )
    ]
    records.write(snakemake, trials, began, inversion.seconds)
