"""Labels of the dummies: given by counts, or optimised along with the images."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.problem import Problem


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

    A trial without counts (its label method was not applicable) gets all classes alike, so that the block can
    run; its status says so. Raises ValueError where no trial has counts.
    """
    if problem.counts is None:
        raise ValueError(f"labels: {options.labels} needs label counts")
    size = problem.dummies(options)
    rows = []
    for counts in problem.counts:
        row = np.repeat(np.arange(problem.classes), counts if counts.sum() else 1)
        rows.append(row[np.floor((np.arange(size) + 0.5) * len(row) / size).astype(int)])
    return np.stack(rows)
