"""Span inversion: take the aggregate apart, image by image, with certificates.

A dense layer's gradient M = (1/N) Σ f_n δ_nᵀ holds every member's feature in its column space. So members are searched for
one by one. Behind a ReLU, or where they are pixels that are mostly black, they are sparse rays of the cone that the span and
the nonnegative features have in common, and linear programs find them without any image (``spans.cone``); an image is then fitted to each. Elsewhere images are moved
until their feature enters the span. Each image is judged by certificates that need no truth; those found are taken out
of M, and the search goes on in the smaller span for those that are left.
Spans of a layer's gradient: SPEAR (Dimitrov et al. 2024), DAGER (Petrov et al. 2024); the cone and the search are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.attacks.span.options import SpanOptions
from gradleak.float32 import FLOAT32_ROUNDING

if TYPE_CHECKING:
    import keras

    from gradleak.attacks.problem import Inversion, Problem
    from gradleak.attacks.span.deflation import Taken


def invert(
    problem: Problem,
    options: SpanOptions,
    decoder: keras.Model | None = None,
    checkpoint: Path | None = None,
    progress: Callable[..., None] | None = None,
) -> Inversion:
    """Take every trial of ``problem`` apart. M, the images of a trial, are all that were looked at, members first.

    decoder: z [B, d] → images [B, H, W, C] in [0, 1]. checkpoint: a folder; a finished trial is kept there, and not done
    again, and so is a joint fit after every round. progress: called as ``logging.info`` is.
    """
    from gradleak.attacks import receptive_field
    from gradleak.attacks.span import layer_selection
    from gradleak.attacks.span.checkpoint import Kept
    from gradleak.attacks.span.deflation import Search
    from gradleak.files import read_npz, write_npz
    from gradleak.gradients.trace import Untraceable
    from gradleak.optim import checkpoints

    began, one_step = time.monotonic(), problem.steps in (None, 1)
    try:
        coarse, fine = layer_selection.chosen(problem.model, problem.public, one_step)
    except layer_selection.NoHost as reason:
        return _not_applicable(problem, str(reason))
    except Untraceable as error:
        return _not_applicable(problem, f"the model cannot be cut open at a dense layer: {error}")
    hidden = receptive_field.mask(problem.model)
    search = Search(coarse, fine, problem.public, ~hidden, decoder, options)
    trials: list[Taken] = []
    for index, seed in enumerate(problem.seeds):
        kept = checkpoint / f"seed-{seed}.npz" if checkpoint else None
        if kept and kept.exists():
            trials.append(_loaded(read_npz(kept)))
            continue
        matrix = fine.gradient([gradient[index] for gradient in problem.gradients])
        noise = fine.noise(matrix, problem.rounding, problem.noise)
        rng = problem.rng(seed, "span")
        if progress:
            progress("seed %d, layer %s", seed, fine.name)
        if options.control == "random_gradient":
            taken = search.control(matrix, noise, rng, progress, one_step)
        else:
            facts = {"options": repr(options), "noise": noise}
            fit = checkpoint and Kept(
                checkpoint / f"seed-{seed}", checkpoints.digest(facts, {"matrix": matrix})
            )
            taken = search.take_apart(matrix, noise, rng, progress, one_step, fit)
        several = not taken.samples if problem.steps is None else problem.steps > 1
        if several:
            taken.samples = 0  # a weight counts an image once for each step that it took part in
            if problem.rounding and len(taken.candidates.images):
                taken.candidates.labels = _learnt_labels(problem, index, taken.candidates.images)
        trials.append(taken)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_npz(kept, samples=taken.samples, unexplained=taken.unexplained, **vars(taken.candidates))
    _fill(trials, hidden, problem.public)
    return _inversion(problem, trials, time.monotonic() - began)


_COLLAPSED = 0.5  # of the accuracy on public images, below which a client's model has unlearnt more than it says of its images


def _learnt_labels(problem: Problem, trial: int, images: np.ndarray) -> np.ndarray:
    """Classes int [K] of images that a client learnt in several local steps, as the model says that it sent back.

    Their δ moved while it learnt and lies nowhere near the row space; but after a few steps it has learnt them. Large steps can
    make a model collapse instead, which shows on public images: then the one before them says it.
    """
    import keras

    scale = np.float32(FLOAT32_ROUNDING / problem.rounding)  # of the pseudo-gradient in the update
    learnt = keras.models.clone_model(problem.model)
    learnt.set_weights(problem.model.get_weights())
    for variable, gradient in zip(learnt.trainable_variables, problem.gradients, strict=True):
        variable.assign_sub(scale * gradient[trial])

    def classes(model: keras.Model, of: np.ndarray) -> np.ndarray:
        return model.predict(of.astype(np.float32), batch_size=256, verbose=0).argmax(axis=1)

    after, before = (
        (classes(m, problem.public) == problem.public_labels).mean() for m in (learnt, problem.model)
    )
    return classes(learnt if after > _COLLAPSED * before else problem.model, images)


def _fill(trials: list[Taken], hidden: np.ndarray, public: np.ndarray) -> None:
    """Pixels ``hidden`` [H, W, C] from all units. All trials at once, since what is learnt from public images serves them all."""
    from gradleak.attacks import receptive_field

    images = np.concatenate([trial.candidates.images for trial in trials])
    filled = receptive_field.fill(images, hidden, public)
    ends = np.cumsum([len(trial.candidates.images) for trial in trials])
    for trial, part in zip(trials, np.split(filled, ends[:-1]), strict=True):
        trial.candidates.images = part


def _loaded(kept: dict[str, np.ndarray]) -> Taken:
    from gradleak.attacks.span.deflation import Candidates, Taken

    candidates = Candidates(**{name: kept[name] for name in Candidates.__dataclass_fields__})
    return Taken(candidates, int(kept["samples"]), kept["unexplained"].tolist())


def _inversion(problem: Problem, trials: list[Taken], seconds: float) -> Inversion:
    from gradleak.attacks.problem import Inversion
    from gradleak.images import psnr

    def padded(name: str, fill: float, dtype: type) -> np.ndarray:
        """[T, M, ...]: one column of all candidates, shorter lists filled up."""
        columns = [getattr(trial.candidates, name) for trial in trials]
        out = np.full((len(trials), max(map(len, columns)), *columns[0].shape[1:]), fill, dtype)
        for row, column in zip(out, columns, strict=True):
            row[: len(column)] = column
        return out

    rounds = max(len(trial.unexplained) for trial in trials)
    curves = [trial.unexplained or [1.0] for trial in trials]
    return Inversion(
        images=padded("images", 0, np.float32),
        labels=padded("labels", 0, np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.array([curve[-1] for curve in curves]),
        accepted=padded("accepted", False, bool),
        status=["ok"] * len(trials),
        history_steps=np.arange(1, max(rounds, 1) + 1),
        history=np.array(
            [curve + curve[-1:] * (max(rounds, 1) - len(curve)) for curve in curves], np.float32
        ),
        seconds={"search": seconds},
        certificates={
            **{
                name: padded(name, -1, np.float64)
                for name in ("residual", "normalised_residual", "weight", "margin")
            },
            "expected_psnr": psnr(
                padded("error", np.nan, np.float64)
            ),  # over the pixels that are seen; NaN: no member
            "samples_estimated": np.array([trial.samples for trial in trials]),
        },
    )


def _not_applicable(problem: Problem, reason: str) -> Inversion:
    from gradleak.attacks.problem import Inversion

    trials = len(problem.seeds)
    return Inversion(
        images=np.zeros((trials, 0, *problem.shape), np.float32),
        labels=np.zeros((trials, 0), np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.full(trials, np.nan),
        accepted=np.zeros((trials, 0), bool),
        status=["not applicable"] * trials,
        history_steps=np.zeros(0, np.int64),
        history=np.zeros((trials, 0), np.float32),
        seconds={},
        reason=reason,
    )
