"""Which family of optimisers made the update: SGD (with or without momentum), an adaptive one (Adam), or not to be told."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING

EXACT, BROKEN = 1e-3, 0.03  # share of the head's delta that its sums over classes make up: at most, at least
# Measured on simulated clients (tests/benchmarks/bench_mapping.py): Adam's deltas lie above both, SGD's below one.
# White noise alone has 0.205 and 1, so the first also keeps noise from passing for Adam.
EVEN_INSIDE, EVEN_BETWEEN = 0.24, 0.4
ONE_STEP = 0.9


def zero_sum(head: np.ndarray) -> float:
    """How far a head's delta [d, C] (or [C]) is from summing to zero over the classes; about 1 for unrelated entries.

    The softmax's gradient p − e_y sums to zero, so does every linear combination of gradients: SGD's and momentum's
    deltas do, over any number of steps. Adam divides each entry by a size of its own.
    """
    head = head.astype(np.float64)
    return float(np.linalg.norm(head.sum(axis=-1)) / max(np.linalg.norm(head), 1e-300))


def rounding(head: np.ndarray, weight: np.ndarray, factor: float) -> float:
    """The same for what the float32 rounding of the subtracted weights alone would make of it."""
    noise = factor * FLOAT32_ROUNDING * np.sqrt(np.sum(np.square(weight, dtype=float)))
    return float(noise / max(np.linalg.norm(head.astype(np.float64)), 1e-300))


def evenness(deltas: list[np.ndarray]) -> tuple[float, float]:
    """How alike the sizes of a delta's entries are: inside of kernels, and between tensors; both in [0, 1].

    Inside: median / 99.9th percentile of the non-zero |entries|, the median over kernels. Between: smallest / largest
    root mean square of a tensor's non-zero entries.
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
    deltas: list[np.ndarray], before: list[np.ndarray], factor: float = 1.0, noise: bool = False
) -> dict[str, Any]:
    """value: sgd (momentum included), adam (any adaptive one) or unknown, with confidence and evidence.

    deltas: one draw's, in the model's order. before: the weights that were subtracted; factor: what the delta was
    multiplied with after that. noise: whether white noise was found on the update, which hides the sums.
    """
    place = -1 if deltas[-1].ndim > 1 else -2
    sums = zero_sum(deltas[place])
    blur = rounding(deltas[place], before[place], factor)
    inside, between = evenness(deltas)
    evidence = f"the last kernel's sums over the classes make up {sums:.1e} of it (SGD: at most {max(EXACT, 10 * blur):.0e})"
    if not any(np.any(d) for d in deltas):
        return {"value": "unknown", "confidence": 0.0, "evidence": "the update is zero"}
    if blur > BROKEN / 3:
        return {
            "value": "unknown",
            "confidence": 0.0,
            "evidence": f"{evidence}; the rounding alone would make up {blur:.1e}",
        }
    exact, even = sums <= max(EXACT, 10 * blur), inside >= EVEN_INSIDE and between >= EVEN_BETWEEN
    sizes = (
        f"entries of a kernel are of {'like' if inside >= EVEN_INSIDE else 'unlike'} size ({inside:.2f}), "
        f"tensors of {'like' if between >= EVEN_BETWEEN else 'unlike'} size ({between:.2f})"
    )
    if exact and not even:
        return {
            "value": "sgd",
            "confidence": 0.99,
            "evidence": f"{evidence}; {sizes}: plain SGD or momentum, which this cannot tell apart",
        }
    if even and not noise and (sums >= BROKEN or (exact and inside >= ONE_STEP)):
        step = "; it was one step, and the entries' size is its learning rate" if inside >= ONE_STEP else ""
        return {
            "value": "adam",
            "confidence": 0.95,
            "evidence": f"{evidence}; {sizes}: an adaptive optimiser such as Adam{step}",
        }
    why = (
        "noise on the update hides it"
        if noise
        else "fits neither (weight decay, noise, clipping by entry, …)"
    )
    return {"value": "unknown", "confidence": 0.0, "evidence": f"{evidence}; {sizes}: {why}"}
