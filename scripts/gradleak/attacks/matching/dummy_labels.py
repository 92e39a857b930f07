"""Labels of the dummies: given by counts, or optimised along with the images."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.problem import Problem
from gradleak.losses import BINARY, CATEGORICAL


def start_labels(problem: Problem, options: MatchingOptions, starts: int = 1) -> dict[str, np.ndarray]:
    """The label logits to optimise along, [T, M, C]; nothing where the labels are given."""
    if options.labels != "joint":
        return {}
    size = (problem.dummies(options), problem.classes)
    streams = [problem.rng(seed, f"labels:{index % starts}") for index, seed in enumerate(problem.seeds)]
    return {"label_logits": np.stack([rng.normal(0, 1, size) for rng in streams]).astype(np.float32)}


def soft_labels(variables: dict, data: dict, loss: str = CATEGORICAL) -> tf.Tensor:
    """[T, M, C], rows sum to one; of binary_crossentropy each entry is in [0, 1]."""
    if "label_logits" not in variables:
        return data["labels"]
    return (tf.nn.sigmoid if loss == BINARY else tf.nn.softmax)(variables["label_logits"])


def hard_labels(logits: np.ndarray, loss: str) -> np.ndarray:
    """The labels that optimised ``logits`` [T, M, C] stand for: int [T, M], or multi-hot [T, M, C]."""
    return (logits > 0).astype(np.int64) if loss == BINARY else np.argmax(logits, axis=-1)


def objection(problem: Problem, options: MatchingOptions) -> str:
    """Why the labels of the dummies are not known as ``options`` want them, or ''."""
    if not problem.is_multi_label or options.labels == "joint":
        return ""
    if problem.members is not None:
        return "with one sigmoid a class span inversion finds no members: leave members out"
    if problem.samples > 1 or problem.dummies(options) > 1:
        return (
            f"with one sigmoid a class the counts of {problem.samples} images do not show which image has "
            "which labels: set labels: joint"
        )
    return ""


def given_rows(problem: Problem, options: MatchingOptions) -> np.ndarray:
    """float32 [T, M, C]: the rows of the labels that are given, one-hot, or multi-hot of one image."""
    if problem.is_multi_label:
        assert problem.counts is not None  # as the caller has made sure
        return (problem.counts > 0).astype(np.float32)[:, None]
    return np.eye(problem.classes, dtype=np.float32)[given_labels(problem, options)]


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
