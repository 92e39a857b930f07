"""What the gradient of the dummies is matched to, and the weight of each of its tensors."""

from __future__ import annotations

import numpy as np

from gradleak.attacks.matching import learned_weights, weightings
from gradleak.attacks.matching.objective import coupling_of
from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.problem import Problem
from gradleak.gradients.matcher import build_matcher


def targets(problem: Problem, options: MatchingOptions) -> list[np.ndarray]:
    """L arrays [T, *shape]: the leaked gradients, or for the control noise of the same norm per tensor."""
    if options.control != "random_gradient":
        return problem.gradients

    def noise(index: int, leaked: np.ndarray) -> np.ndarray:
        out = np.empty_like(leaked)
        for trial, seed in enumerate(problem.seeds):
            raw = problem.rng(seed, f"control:{index}").normal(size=leaked.shape[1:])
            out[trial] = raw * np.linalg.norm(leaked[trial]) / np.linalg.norm(raw)
        return out

    return [noise(index, g) for index, g in enumerate(problem.gradients)]


def weights(problem: Problem, options: MatchingOptions, leaked: list[np.ndarray]) -> np.ndarray:
    """float32 [T, L], or [1, L] where all trials share them: the weight of each tensor of the gradients."""
    if options.weighting != "learned":
        norms = np.stack([np.linalg.norm(g.reshape(len(g), -1), axis=1) for g in leaked], axis=1)
        return weightings.weights(options.weighting, problem.layer, norms)
    images = min(problem.samples, len(problem.public))
    orders = [
        problem.rng(c, "learned").permutation(len(problem.public)) for c in range(learned_weights.CLIENTS)
    ]
    members = np.stack(orders)[:, :images]
    found = learned_weights.weights(
        build_matcher(problem.model, coupling_of(problem, options, images), problem.loss),
        problem.public[members],
        problem.public_labels[members],
        options.loss,
    )
    return weightings.scaled(found[None])
