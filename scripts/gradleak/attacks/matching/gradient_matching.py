"""What the gradient-matching attacks share: the problem of a block, its objective, its labels, its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from gradleak import gradients
from gradleak.attacks.matching import learned_weights, weightings
from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.problem import Inversion, Problem
from gradleak.optim import checkpoints, minimise
from gradleak.optim.limits import UNLIMITED, Limits


def matching_loss(problem: Problem, options: MatchingOptions) -> Callable:
    """f(images [T,M,H,W,C], labels [T,M,C], data) → loss [T]; ``data`` is what ``run_loop`` gives the loop."""
    matcher = gradients.build_matcher(problem.model)
    count = len(matcher.variables)
    # A mean over tensors hides behind 'cosine'; the published attacks sum, and their TV weights are set against that.
    factor = float(count) if options.loss == "cosine" else 1.0

    def match(images: tf.Tensor, labels: tf.Tensor, data: dict) -> tf.Tensor:
        targets = gradients.unpack_targets(data, count)
        return factor * gradients.objective(
            matcher.products(images, labels, targets), data["weights"], options.loss
        )

    return match


def label_likelihood(problem: Problem) -> Callable:
    """The same signature, but blind to the gradient: cross-entropy of the labels under the global model."""

    def match(images: tf.Tensor, labels: tf.Tensor, data: dict) -> tf.Tensor:
        logits = problem.model(tf.reshape(images, [-1, *problem.shape]), training=False)
        loss = tf.nn.softmax_cross_entropy_with_logits(tf.reshape(labels, [-1, problem.classes]), logits)
        return tf.reduce_mean(tf.reshape(loss, tf.shape(images)[:2]), axis=1)

    return match


def targets(problem: Problem, options: MatchingOptions) -> list[np.ndarray]:
    """What the dummies' gradient is matched to: the leak, or noise of the same norm per tensor for the control."""
    if options.control != "random_gradient":
        return problem.gradients

    def noise(index: int, leaked: np.ndarray) -> np.ndarray:
        out = np.empty_like(leaked)
        for trial, seed in enumerate(problem.seeds):
            raw = problem.rng(seed, f"control:{index}").normal(size=leaked.shape[1:])
            out[trial] = raw * np.linalg.norm(leaked[trial]) / np.linalg.norm(raw)
        return out

    return [noise(index, g) for index, g in enumerate(problem.gradients)]


def start_labels(problem: Problem, options: MatchingOptions, starts: int = 1) -> dict[str, np.ndarray]:
    """The label logits to optimise along, [T, M, C]; nothing where the labels are given."""
    if options.labels != "joint":
        return {}
    size = (problem.dummies(options), problem.classes)
    streams = [problem.rng(seed, f"labels:{index % starts}") for index, seed in enumerate(problem.seeds)]
    return {"label_logits": np.stack([rng.normal(0, 1, size) for rng in streams]).astype(np.float32)}


def soft_labels(variables: dict, data: dict) -> tf.Tensor:
    """[T, M, C], rows sum to one."""
    return tf.nn.softmax(variables["label_logits"]) if "label_logits" in variables else data["labels"]


def given_labels(problem: Problem, options: MatchingOptions) -> np.ndarray:
    """int64 [T, M]: the counts written out class by class, scaled to M dummies where M is not N.

    A trial without counts (its label method was not applicable) gets all classes alike, so that the block can run;
    ``inversion`` says so in its status.
    """
    if problem.counts is None:
        raise ValueError(f"labels: {options.labels} needs label counts")
    size = problem.dummies(options)
    rows = []
    for counts in problem.counts:
        row = np.repeat(np.arange(problem.classes), counts if counts.sum() else 1)
        rows.append(row[np.floor((np.arange(size) + 0.5) * len(row) / size).astype(int)])
    return np.stack(rows)


def weights(problem: Problem, options: MatchingOptions, leaked: list[np.ndarray]) -> np.ndarray:
    """float32 [T, L], or [1, L] where all trials share them: what each tensor of the gradients counts."""
    if options.weighting != "learned":
        norms = np.stack([np.linalg.norm(g.reshape(len(g), -1), axis=1) for g in leaked], axis=1)
        return weightings.weights(options.weighting, problem.layer, norms)
    images = min(problem.samples, len(problem.public))
    orders = [
        problem.rng(c, "learned").permutation(len(problem.public)) for c in range(learned_weights.CLIENTS)
    ]
    members = np.stack(orders)[:, :images]
    found = learned_weights.weights(
        gradients.build_matcher(problem.model),
        problem.public[members],
        problem.public_labels[members],
        options.loss,
    )
    return weightings.scaled(found[None])


def run_loop(
    objective: Callable,
    start: dict[str, np.ndarray],
    problem: Problem,
    options: MatchingOptions,
    data: dict | None = None,
    box: dict | None = None,
    checkpoint: Path | None = None,
    progress: Callable | None = None,
    limits: Limits = UNLIMITED,
) -> minimise.LoopResult:
    """The shared loop on this problem's targets, weights and labels. data: what else the objective is given, per trial."""
    leaked = [g.astype(np.float32) for g in targets(problem, options)]
    known = (data or {}) | {"weights": weights(problem, options, leaked)}
    if "label_logits" not in start:
        known["labels"] = np.eye(problem.classes, dtype=np.float32)[given_labels(problem, options)]
    # Of the leak itself: the last bits of its factors depend on the machine and its threads.
    facts = known | {f"target_{index}": g for index, g in enumerate(leaked)}
    names = ("steps", "learning_rate", "optimizer", "decay", "clip_norm", "polish_steps", "plateau")
    settings = minimise.LoopSettings(**{name: getattr(options, name) for name in names})
    return minimise.minimise(
        objective,
        start,
        settings,
        data=known | gradients.pack_targets(leaked),
        box=box,
        checkpoint=checkpoint,
        progress=progress,
        key=checkpoints.digest({"options": repr(options)}, facts),
        limits=limits,
    )


def best_of_starts(result: minimise.LoopResult, starts: int) -> minimise.LoopResult:
    """Of each trial's neighbouring restarts the one with the least objective: no look at any truth."""
    if starts == 1:
        return result
    objective = np.nan_to_num(result.objective.reshape(-1, starts), nan=np.inf)
    keep = np.arange(len(objective)) * starts + objective.argmin(axis=1)
    return dataclasses.replace(
        result,
        best={name: value[keep] for name, value in result.best.items()},
        objective=result.objective[keep],
        history=result.history[keep],
        status=[result.status[index] for index in keep],
        steps_taken=result.steps_taken[keep],
    )


def inversion(
    problem: Problem, options: MatchingOptions, result: minimise.LoopResult, images: np.ndarray
) -> Inversion:
    """The loop's result in the shape of the contract."""
    if "label_logits" in result.best:
        labels = np.argmax(result.best["label_logits"], axis=-1)
    else:
        labels = given_labels(problem, options)
    status = list(result.status)
    if problem.counts is not None and options.labels != "joint":
        empty = problem.counts.sum(axis=1) == 0
        status = ["not applicable" if none else s for s, none in zip(status, empty, strict=True)]
    return Inversion(
        images=images.astype(np.float32),
        labels=labels.astype(np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.asarray(result.objective, np.float64),
        accepted=np.ones(labels.shape, bool),
        status=status,
        history_steps=np.asarray(result.history_steps, np.int64),
        history=np.asarray(result.history, np.float32),
        seconds=dict(result.seconds),
    )
