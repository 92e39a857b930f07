"""The family of the client's optimiser: SGD (with or without momentum), adaptive (Adam), or unknown."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.head import Head

# ``zero_sum`` of the last kernel: at most EXACT for SGD, at least BROKEN for Adam.
EXACT, BROKEN = 1e-3, 0.03
# ``evenness``, measured on simulated clients (tests/benchmarks/bench_mapping.py): Adam's deltas are above
# both, SGD's are below at least one. White noise alone has 0.205 and 1, so the first bound also separates
# noise from Adam.
EVEN_INSIDE, EVEN_BETWEEN = 0.24, 0.4
ONE_STEP = 0.9  # evenness inside kernels above which Adam made a single step
# Names in metadata → family.
FAMILIES = {
    "sgd": "sgd",
    "momentum": "sgd",
    "nesterov": "sgd",
    "adam": "adam",
    "adamw": "adam",
    "rmsprop": "adam",
}


def zero_sum(head: np.ndarray) -> float:
    """Norm of the sums over the classes, divided by the norm of the last layer's delta [d, C] or [C].

    It is about 1 for unrelated entries. The softmax gradient p − e_y sums to zero, and so does every linear
    combination of gradients, such as the deltas of SGD and momentum after any number of steps. Adam divides
    each entry by its own size, which breaks the sums.
    """
    head = head.astype(np.float64)
    return float(np.linalg.norm(head.sum(axis=-1)) / max(float(np.linalg.norm(head)), 1e-300))


def rounding(head: np.ndarray, weight: np.ndarray, factor: float) -> float:
    """``zero_sum`` that the float32 rounding of the subtracted weights alone would give."""
    noise = factor * FLOAT32_ROUNDING * np.sqrt(np.sum(np.square(weight, dtype=float)))
    return float(noise / max(float(np.linalg.norm(head.astype(np.float64))), 1e-300))


def evenness(deltas: list[np.ndarray]) -> tuple[float, float]:
    """How similar the sizes of a delta's entries are, inside kernels and between tensors; both in [0, 1].

    Inside: median / 99.9th percentile of the non-zero |entries|, the median over kernels. Between: smallest /
    largest root mean square of a tensor's non-zero entries.
    """
    inside, sizes = [], []
    for delta in deltas:
        entries = np.abs(delta[delta != 0]).astype(np.float64)
        if not len(entries):
            continue
        sizes.append(float(np.sqrt(np.mean(entries**2))))
        if delta.ndim > 1:
            inside.append(float(np.median(entries) / np.quantile(entries, 0.999)))
    if not inside:
        return 0.0, 0.0
    return float(np.median(inside)), min(sizes) / max(sizes)


def find_optimizer(
    deltas: list[np.ndarray],
    before: list[np.ndarray],
    head: Head | None,
    factor: float = 1.0,
    noise: bool = False,
) -> Finding:
    """The family of one draw; value: sgd (momentum included), adam (any adaptive optimiser) or unknown.

    deltas: of one draw, in the model's order. before: the weights that were subtracted. head: the last dense
    layer, None if there is none. factor: the delta was multiplied by it after that. noise: whether white
    noise was found on the update, which hides the sums.
    """
    if head is None:
        return Finding(UNKNOWN, 0.0, "without a last dense layer there are no sums over the classes")
    place = head.kernel_index
    sums = zero_sum(deltas[place])
    by_rounding = rounding(deltas[place], before[place], factor)
    inside, between = evenness(deltas)
    bound = max(EXACT, 10 * by_rounding)
    evidence = f"the last kernel's sums over the classes are {sums:.1e} of it (SGD: at most {bound:.0e})"
    if not any(np.any(d) for d in deltas):
        return Finding(UNKNOWN, 0.0, "the update is zero")
    if by_rounding > BROKEN / 3:
        return Finding(UNKNOWN, 0.0, f"{evidence}; rounding alone would give {by_rounding:.1e}")
    exact, even = sums <= bound, inside >= EVEN_INSIDE and between >= EVEN_BETWEEN
    evidence = (
        f"{evidence}; entries of a kernel have {_alike(inside >= EVEN_INSIDE)} sizes ({inside:.2f}), "
        f"tensors have {_alike(between >= EVEN_BETWEEN)} sizes ({between:.2f})"
    )
    if exact and not even:
        return Finding("sgd", 0.99, f"{evidence}: SGD, with or without momentum")
    if even and not noise and (sums >= BROKEN or (exact and inside >= ONE_STEP)):
        step = "; it was one step, and the entries' size is its learning rate" if inside >= ONE_STEP else ""
        return Finding("adam", 0.95, f"{evidence}: an adaptive optimiser such as Adam{step}")
    why = (
        "noise on the update hides it"
        if noise
        else "neither fits (weight decay, noise, clipping by entry, …)"
    )
    return Finding(UNKNOWN, 0.0, f"{evidence}: {why}")


def _alike(even: bool) -> str:
    return "similar" if even else "different"


def common_optimizer(of_draws: list[Finding], stated: Any) -> Finding:
    """The family on which the draws agree, since all clients follow one protocol. stated: by the metadata."""
    known = [one for one in of_draws if one.value != UNKNOWN]
    values = {one.value for one in known}
    if len(values) != 1:
        disagree = "; draws disagree" if values else ""
        return Finding(UNKNOWN, 0.0, of_draws[0].evidence + disagree)
    first = known[0]
    share = f"found in {len(known)} of {len(of_draws)} draws; the first: " if len(of_draws) > 1 else ""
    contradicts: tuple[Contradiction, ...] = ()
    if isinstance(stated, str) and FAMILIES.get(stated.lower(), first.value) != first.value:
        contradicts = (Contradiction("metadata", stated[:40], "update", first.value),)
    confidence = first.confidence * len(known) / len(of_draws)
    return Finding(first.value, confidence, share + first.evidence, contradicts)
