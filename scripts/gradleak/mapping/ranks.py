"""Numerical ranks of the deltas of dense kernels: a lower bound on the number of images × steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING

if TYPE_CHECKING:
    import keras

# Each local step rounds the weights, so the rounding of T steps is √T times that of one. Where the number of
# steps is not stated, up to 100 are allowed for.
UNSTATED_STEPS = 100


@dataclass(frozen=True)
class Ranks:
    """Of each dense kernel. singular: name → singular values of its delta, float64 [D, K].

    floor: name → the largest singular value that rounding and noise explain, float64 [D]. rows: variable,
    shape, ranks (singular values above the floor, one for each draw), least (those above the floor of all
    local steps) and full (the largest possible rank), JSON types.
    """

    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]
    rows: list[dict]


@dataclass(frozen=True)
class Errors:
    """Of the entries of a delta. noise: standard deviation of white noise on each variable [L], other than of
    rounded weights. precision: relative rounding error of the number format. steps: local steps, None if not
    stated.
    """

    noise: np.ndarray
    precision: float = FLOAT32_ROUNDING
    steps: int | None = None


@dataclass(frozen=True)
class Bound:
    """Images × local steps are at least ``rank``, the rank of the delta of ``variable``, which is ``full`` at
    most.
    """

    variable: str
    rank: int
    full: int


def rank_kernels(
    variables: list, deltas: list[np.ndarray], before: list[np.ndarray], factor: float, errors: Errors
) -> Ranks:
    """The numerical rank of every dense kernel's delta.

    variables: of the model. deltas: [D, …] each. before: the float32 weights that were subtracted. factor:
    the delta was multiplied by it after the subtraction.
    """
    singular, floor, rows = {}, {}, []
    more = np.sqrt(errors.steps or UNSTATED_STEPS)
    for variable, delta, weight, noise in zip(variables, deltas, before, errors.noise, strict=True):
        if delta.ndim != 3:
            continue
        values = np.linalg.svd(delta.astype(np.float64), compute_uv=False)
        edge = sum(np.sqrt(weight.shape))  # the largest singular value of white noise of standard deviation 1
        rounding = 3 * factor * FLOAT32_ROUNDING * np.sqrt(np.mean(np.square(weight, dtype=float))) * edge
        own = 3 * errors.precision * np.sqrt(np.mean(np.square(delta, dtype=float), axis=(1, 2))) * edge
        smallest = values[:, 0] * np.finfo(np.float32).eps * np.sqrt(max(weight.shape))
        other = np.maximum(np.maximum(own, 1.1 * noise * edge), smallest)
        limit = np.maximum(other, rounding)
        least = values > np.maximum(other, more * rounding)[:, None]
        singular[variable.path], floor[variable.path] = values, limit
        rows.append(
            {
                "variable": variable.path,
                "shape": list(weight.shape),
                "ranks": (values > limit[:, None]).sum(axis=1).tolist(),
                "least": least.sum(axis=1).tolist(),
                "full": int(min(weight.shape)),
            }
        )
    return Ranks(singular, floor, rows)


def widest(ranks: list[dict]) -> dict | None:
    """The row of the dense kernel with the largest possible rank."""
    return max(ranks, key=lambda row: row["full"], default=None)


def read_once(model: keras.Model) -> set[str]:
    """Paths of the kernels that one image passes once, so that it adds at most 1 to the gradient's rank.

    A dense layer that is applied at each place of a feature map adds the number of places.
    """
    return {
        layer.kernel.path
        for layer in model.layers
        if getattr(layer, "kernel", None) is not None
        and len(layer.kernel.shape) == 2
        and len(getattr(layer, "_inbound_nodes", [None])) == 1
        and len(layer.input.shape) == 2
    }


def lower_bound(ranks: list[dict], once: set[str], optimizer: str, is_perturbed: bool) -> Bound | None:
    """What the ranks prove about images × steps; None if nothing.

    once: of ``read_once``. optimizer: the family. A step of an adaptive optimiser does not keep the
    gradient's rank, so the family must be known to be SGD. is_perturbed: noise, quantisation, clipping by
    entry or dropped entries were found, which add to the rank.
    """
    kernel = widest([row for row in ranks if row["variable"] in once])
    if kernel is None or optimizer != "sgd" or is_perturbed:
        return None
    return Bound(kernel["variable"], max(kernel["least"]), kernel["full"])


def is_refuted(bound: Bound | None, samples: int, steps: Any) -> bool:
    """Whether the rank is above ``samples`` × ``steps``. steps: as in the (untrusted) metadata.

    It is not where the steps are not stated: each step has gradients of its own.
    """
    if bound is None or not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        return False
    return samples * steps < bound.rank < bound.full  # any disturbance makes the rank full


def verdict(bound: Bound | None, samples: int, steps: Any) -> str:
    """What the rank shows about the number of images, in one sentence."""
    if bound is None:
        return "The ranks of the dense updates prove nothing about the number of images."
    text = (
        f"{bound.variable} has rank {bound.rank} of {bound.full}: images × local steps are at least that many"
    )
    if is_refuted(bound, samples, steps):
        return f"{text}, more than the stated {samples} × {steps}. The statement is refuted."
    if bound.rank > samples and steps is None:
        return f"{text}, so the stated {samples} images are too few for one step."
    return f"{text}, which fits the stated {samples}."
