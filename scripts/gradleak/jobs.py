"""What the scripts share: a log with the traceback, TensorFlow's threads, and the way from files to a Problem."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger("gradleak")


REASONS = {"ok": "", "diverged": "no finite objective", "not applicable": "the label method gave no counts"}


class Expected(Exception):
    """An error that the user can act upon: shown without a traceback."""


@contextlib.contextmanager
def job(snakemake: Any, tensorflow: bool = False) -> Iterator[None]:
    """Send all output of a script to its rule's log; on failure end it with the reason, on the console too."""
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gradleak.artifacts import ArtifactError

    console = os.fdopen(os.dup(2), "w")
    with path.open("w", buffering=1) as stream:
        # Below Python, since TensorFlow's libraries write to the descriptors themselves.
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            if tensorflow:
                use_threads(snakemake.threads)
            yield
        except (Expected, ArtifactError) as error:
            _fail(stream, console, snakemake, str(error))
        except Exception as error:
            traceback.print_exc(file=stream)
            _fail(stream, console, snakemake, f"{type(error).__name__}: {error}")


def _fail(stream: Any, console: Any, snakemake: Any, message: str) -> None:
    wildcards = " ".join(f"{k}={v}" for k, v in snakemake.wildcards.items())
    text = f"ERROR in {snakemake.rule} {wildcards}: {message}"
    print(text, file=stream)
    print(f"{text}\n(details: {snakemake.log[0]})", file=console, flush=True)
    sys.exit(1)


def use_threads(threads: int) -> None:
    """TensorFlow computes with exactly the rule's threads, deterministically."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def progress(label: str) -> Callable[[int, int, np.ndarray], None]:
    """A callback that writes step, loss and the time that is left into the log."""
    began = time.monotonic()

    def report(step: int, total: int, losses: np.ndarray) -> None:
        elapsed = time.monotonic() - began
        left = elapsed / max(step, 1) * (total - step)
        log.info("%s  step %d/%d  loss median %.4g  best %.4g  %.0f s done, about %.0f s left",
                 label, step, total, np.nanmedian(losses), np.nanmin(losses), elapsed, left)  # fmt: skip

    return report


def load_mapping(files: list[str], draws: list[int]) -> tuple[Any, dict[str, np.ndarray]]:
    """(model with the round's weights, arrays) of the mapped ``draws``, in that order; each file holds a run of draws.

    arrays: gradient_0 … gradient_{L-1} [T, *shape], layer [L], samples, public_softmax (C, C).
    """
    import keras

    from gradleak.files import read_npz

    parts = [read_npz(file) for file in files]
    where = {int(d): (part, index) for part in parts for index, d in enumerate(part["draws"])}
    first = parts[0]
    model = keras.models.model_from_json(str(first["model"]))
    model.set_weights([first[f"weight_{i}"] for i in range(len(model.weights))])
    arrays = {
        f"gradient_{i}": np.stack([where[d][0][f"gradient_{i}"][where[d][1]] for d in draws])
        for i in range(len(model.trainable_variables))
    }
    return model, arrays | {key: first[key] for key in ("layer", "samples", "public_softmax")}


def load_problem(snakemake: Any) -> Any:
    """The Problem of a block from a rule's inputs (mapping, public, and labels or truth where asked for)."""
    from gradleak.attacks.matching import Problem
    from gradleak.datasets import to_float
    from gradleak.files import read_npz

    params, inputs = snakemake.params, snakemake.input
    model, arrays = load_mapping(list(inputs.mapping), params.draws)
    gradients = [arrays[f"gradient_{i}"] for i in range(len(model.trainable_variables))]
    counts = None
    if inputs.get("labels"):
        counts = read_npz(inputs.labels[0])["counts"]
    elif inputs.get("truth"):
        classes = model.output_shape[-1]
        counts = np.stack(
            [np.bincount(y, minlength=classes) for y in load_truth(list(inputs.truth), params.draws)[1]]
        )
    public = to_float(read_npz(inputs.public)["x"])
    return Problem(
        model, gradients, arrays["layer"], int(arrays["samples"]), list(params.seeds), counts, public
    )


def load_truth(files: list[str], draws: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(x uint8 [T, N, H, W, C], y int [T, N]) of ``draws``. Called by the scoring, and for oracle labels."""
    from gradleak.files import read_npz

    found = {}
    for file in files:
        arrays = read_npz(file)
        found |= {int(d): (x, y) for d, x, y in zip(arrays["draws"], arrays["x"], arrays["y"], strict=True)}
    return np.stack([found[d][0] for d in draws]), np.stack([found[d][1] for d in draws])


def checkpoint(snakemake: Any) -> Path:
    """Where a block's unfinished work lies: undeclared, so that Snakemake leaves it alone, and keyed by all that counts."""
    from gradleak.records import digest

    params = snakemake.params
    key = digest(params.spec, params.code, list(params.seeds), list(params.draws))
    return Path("results/checkpoints") / snakemake.wildcards.cell / f"{snakemake.wildcards.block}-{key}"


def forget(folder: Path) -> None:
    """The block is written: its checkpoint has done its work."""
    shutil.rmtree(folder, ignore_errors=True)


def write_inversion(snakemake: Any, inversion: Any, began: float) -> None:
    """The two files of an attack block: the reconstructions, and the record."""
    from gradleak import records
    from gradleak.files import write_json, write_npz

    write_npz(
        snakemake.output.inversion, images=inversion.images, labels=inversion.labels, seeds=inversion.seeds,
        objective=inversion.objective, accepted=inversion.accepted,
    )  # fmt: skip
    trials = [
        records.trial(
            seed,
            draw,
            status,
            REASONS.get(status, status),
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
    write_json(snakemake.output.record, record(snakemake, trials, began, inversion.seconds))


def record(snakemake: Any, trials: list[dict], began: float, seconds: dict[str, float]) -> dict[str, Any]:
    """The record of a block, as ``records`` documents it."""
    from gradleak import records

    params = snakemake.params
    return {
        "cell": snakemake.wildcards.cell,
        "block": snakemake.wildcards.block,
        "parameters": params.spec,
        "code": params.code,
        "threads": snakemake.threads,
        "environment": records.environment(),
        "started": time.time() - (time.monotonic() - began),
        "seconds": {**seconds, "total": time.monotonic() - began},
        "peak_mb": records.peak_mb(),
        "trials": trials,
    }
