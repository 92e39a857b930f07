"""Uniform quantisation of an update: every entry of a tensor is an offset plus a multiple of one step."""

from __future__ import annotations

import numpy as np

from gradleak.mapping.finding import Finding

LEAST_ENTRIES = 1024  # of a tensor that shows a step
MOST_BITS = 16
ONE_LEVEL = 2.0**-22  # of the largest entry: far below a step of MOST_BITS
# The last place of a float32 weight w is at most 2⁻²³ |w|. The differences of rounded weights are multiples
# of the finest of those places, so only a step above that of the median weight is one of quantisation.
ABOVE_ROUNDING = 2 * 2.0**-23


def find_quantisation(
    deltas: list[np.ndarray], before: list[np.ndarray], factor: float = 1.0
) -> tuple[Finding, np.ndarray]:
    """value: bits of an entry of the finest tensor, 0 if the entries are no multiples of a step.

    Also returns the step of each tensor, float64 [L]; 0 where there is none. deltas: [D, …] each. before: the
    weights that were subtracted. factor: by which the delta was multiplied after that. Only tensors of at
    least LEAST_ENTRIES entries are examined, and all of them must have a step (Alistarh et al. 2017 and
    others quantise each tensor, with 2 to 2^16 levels).
    """
    steps, levels = np.zeros(len(deltas)), []
    for place, (delta, weight) in enumerate(zip(deltas, before, strict=True)):
        first = delta[0]
        if first.size < LEAST_ENTRIES or not first.any():
            continue
        step = lattice_step(first)
        if step <= ABOVE_ROUNDING * abs(factor) * float(np.median(np.abs(weight))):
            return Finding(0, 0.9, "the entries are no multiples of a step"), np.zeros(len(deltas))
        steps[place] = step
        levels.append(round(float(np.ptp(first)) / step) + 1)
    if not levels:
        return Finding(0, 0.0, "no tensor is large enough"), steps
    # Three levels are a sign or zero.
    bits = 1 if max(levels) <= 3 else int(np.ceil(np.log2(max(levels))))
    evidence = f"the entries of each kernel are multiples of a step, with at most {max(levels)} levels"
    return Finding(bits, 0.95, evidence), steps


def lattice_step(values: np.ndarray) -> float:
    """The largest step of which all differences of the values are multiples; 0 if they are of none.

    The smallest difference is taken for the step. So there must be enough values for neighbours to occur.
    """
    levels = np.unique(values.astype(np.float64))
    size = float(np.abs(levels).max())
    # Levels that differ by the rounding of float32 are one.
    levels = levels[np.diff(levels, prepend=-np.inf) > ONE_LEVEL * size]
    if len(levels) < 2:
        return 0.0
    gaps = np.diff(levels)
    step = float(gaps.min())
    if step * 2**MOST_BITS < (levels[-1] - levels[0]) * 0.9:
        return 0.0
    # Levels are dense about the median, where multiples are counted first.
    offsets, reach = levels - np.median(values), 8 * step
    offsets -= offsets[np.argmin(np.abs(offsets))]
    while reach < 2 * np.abs(offsets).max():  # each pass doubles the distance over which they can be
        reach *= 2
        near = offsets[np.abs(offsets) <= reach]
        counts = np.round(near / step)
        if counts.any():
            step = float(near @ counts / (counts @ counts))
    off = np.abs(offsets / step - np.round(offsets / step))
    # Values are rounded to float32 after they were scaled back.
    allowed = 0.02 + 4 * 2.0**-24 * size / step
    return step if allowed < 0.2 and float(off.max()) <= allowed else 0.0
