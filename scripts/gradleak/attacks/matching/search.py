"""The search of the gradient-matching attacks: the optimisation loop on a block, and its result as an
Inversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from gradleak.attacks.matching.dummy_labels import given_labels, given_rows, hard_labels
from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.matching.targets import targets, weights
from gradleak.attacks.problem import Inversion, Problem
from gradleak.gradients.targets import pack_targets
from gradleak.optim import checkpoints, minimise
from gradleak.optim.resources import Resources


@dataclass(frozen=True)
class Search:
    """What is minimised: ``objective(variables, data) -> [T]`` over the variables of ``start``, arrays [T,
    ...].

    data: constants of the objective beyond those that ``run`` adds. box: lowest and highest value of a
    variable.
    """

    objective: Callable
    start: dict[str, np.ndarray]
    data: dict[str, np.ndarray] = field(default_factory=dict)
    box: dict[str, tuple[float, float]] | None = None


def run(
    search: Search, problem: Problem, options: MatchingOptions, resources: Resources
) -> minimise.LoopResult:
    """The loop on this problem: targets, tensor weights and, where they are given, labels join the data.

    The key of a checkpoint covers the options and the leaked gradients.
    """
    leaked = [g.astype(np.float32) for g in targets(problem, options)]
    known = search.data | {"weights": weights(problem, options, leaked)}
    if "label_logits" not in search.start:
        known["labels"] = given_rows(problem, options)
    # Of the gradients as they are: the last bits of their factors depend on the machine and its threads.
    facts = known | {f"target_{index}": g for index, g in enumerate(leaked)}
    names = ("steps", "learning_rate", "optimizer", "decay", "clip_norm", "polish_steps", "plateau")
    settings = minimise.LoopSettings(**{name: getattr(options, name) for name in names})
    return minimise.minimise(
        search.objective,
        search.start,
        settings,
        data=known | pack_targets(leaked),
        box=search.box,
        resources=replace(resources, key=checkpoints.digest({"options": repr(options)}, facts)),
    )


def best_of_starts(result: minimise.LoopResult, starts: int) -> minimise.LoopResult:
    """Of the neighbouring restarts of each trial the one with the least objective; no truth is used."""
    if starts == 1:
        return result
    objective = np.nan_to_num(result.objective.reshape(-1, starts), nan=np.inf)
    keep = np.arange(len(objective)) * starts + objective.argmin(axis=1)
    return replace(
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
    """The result of the loop as an Inversion, with ``images`` [T, M, H, W, C]."""
    if "label_logits" in result.best:
        labels = hard_labels(result.best["label_logits"], problem.loss)
    elif problem.is_multi_label:
        labels = given_rows(problem, options)
    else:
        labels = given_labels(problem, options)
    status = list(result.status)
    if problem.counts is not None and options.labels != "joint":
        least = problem.counts.min(axis=1)  # an image may have none of many labels
        empty = least < 0 if problem.is_multi_label else problem.counts.sum(axis=1) == 0
        status = ["not applicable" if none else s for s, none in zip(status, empty, strict=True)]
    return Inversion(
        images=images.astype(np.float32),
        labels=labels.astype(np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.asarray(result.objective, np.float64),
        accepted=np.ones(labels.shape[:2], bool),
        status=status,
        history_steps=np.asarray(result.history_steps, np.int64),
        history=np.asarray(result.history, np.float32),
        seconds=dict(result.seconds),
    )
