"""Statistical tests for defences on an update: noise, clipping, sparsification, rounding."""

from __future__ import annotations

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.finding import Finding
from gradleak.mapping.head import Head
from gradleak.mapping.optimizer import ONE_SIZE

# Smallest / median size of a kernel's non-zero entries above which small entries are missing. Of gradients it
# is below 0.005, but for rounding (tests/benchmarks/bench_mapping.py).
NO_SMALL = 0.015
# Smaller float16 numbers are multiples of a step.
FLOAT16_NORMAL, FLOAT16_STEP = 2.0**-14, 2.0**-24
# Sums above so many times the rounding of one step show another error; that of 64 steps is 8 times as large.
UNEXPLAINED = 8.0


def find_noise(
    deltas: list[np.ndarray], before: list[np.ndarray], head: Head | None, factor: float
) -> Finding:
    """White noise, by two estimates of σ that agree only with noise. value: its standard deviation, or 0.

    Under SGD the sums of the last layer over classes are zero without noise; with noise they have the
    standard deviation σ √C. The rows of a kernel with the smallest entries (a pixel that is always 0, a unit
    that is rarely active) also consist of noise. So with noise both estimates of σ agree, no entry is exactly
    zero, and the entries are Gaussian; Adam's entries are not. deltas: [D, …] each. before: the weights that
    were subtracted. head: the last dense layer, None if there is none. factor: by which the delta was
    multiplied after the subtraction.
    """
    if head is None:
        return Finding(0.0, 0.0, "without a last dense layer there are no sums to compare")
    if not head.has_sums:
        return Finding(0.0, 0.0, "the sums over the classes of a sigmoid's gradient are not zero")
    kernel, weight = deltas[head.kernel_index], before[head.kernel_index]
    sums = kernel.astype(np.float64).sum(axis=-1)
    by_sums = float(np.sqrt(np.mean(sums**2) / kernel.shape[-1]))
    rounding = factor * FLOAT32_ROUNDING * float(np.sqrt(np.mean(np.square(weight, dtype=float))))
    kernels = [d[0].reshape(-1, d.shape[-1]).astype(np.float64) for d in deltas if d.ndim > 2]
    rows = [row for k in kernels for row in (k, k.T) if row.shape[1] >= 64]
    if not rows or by_sums <= 0:
        return Finding(0.0, 0.0, "no kernel is large enough")
    sizes = [np.sqrt(np.mean(row**2, axis=1)) for row in rows]
    small_rows = rows[int(np.argmin([np.quantile(size, 0.02) for size in sizes]))]
    order = np.argsort(np.mean(small_rows**2, axis=1))[: max(1, len(small_rows) // 20)]
    smallest = float(np.sqrt(np.mean(small_rows[order] ** 2)))
    standard = small_rows[order] / np.maximum(
        np.sqrt(np.mean(small_rows[order] ** 2, axis=1, keepdims=True)), 1e-300
    )
    kurtosis = float(np.mean(standard**4))
    evidence = (
        f"the last layer's sums suggest σ = {by_sums:.1e}, the smallest rows of a kernel {smallest:.1e}, "
        f"rounding is {rounding:.1e}"
    )
    agree = 0.7 < smallest / by_sums < 1.4 and 2.4 < kurtosis < 3.6
    if by_sums > 20 * rounding and agree and np.all(small_rows != 0):
        return Finding(by_sums, 0.8, f"{evidence}; they agree and are Gaussian")
    return Finding(0.0, 0.7, f"{evidence}; they differ, or are not Gaussian")


def unexplained_error(
    deltas: list[np.ndarray], before: list[np.ndarray], head: Head | None, factor: float
) -> float:
    """Standard deviation of an entry's error by the last layer's sums under SGD, beyond rounding; else 0.

    The sums are of errors alone, white or not, such as those of a fine quantisation. Arguments as of
    ``find_noise``.
    """
    if head is None or not head.has_sums:
        return 0.0
    kernel, weight = deltas[head.kernel_index], before[head.kernel_index]
    by_sums = float(np.sqrt(np.mean(kernel.sum(axis=-1, dtype=float) ** 2) / kernel.shape[-1]))
    rounding = factor * FLOAT32_ROUNDING * float(np.sqrt(np.mean(np.square(weight, dtype=float))))
    return by_sums if by_sums > UNEXPLAINED * rounding else 0.0


def find_precision(deltas: list[np.ndarray]) -> Finding:
    """The coarsest number format that holds every entry. value: float16, bfloat16 or float32."""
    with np.errstate(over="ignore"):
        is_float16 = all(np.array_equal(d, d.astype(np.float16).astype(np.float32)) for d in deltas)
    is_bfloat16 = all(
        not np.any(np.ascontiguousarray(d, np.float32).view(np.uint32) & 0xFFFF) for d in deltas
    )
    if not any(np.any(d) for d in deltas) or not (is_float16 or is_bfloat16):
        return Finding("float32", 0.9, "its entries use all digits of a float32", rounding=FLOAT32_ROUNDING)
    name, bits = ("float16", 11) if is_float16 else ("bfloat16", 8)
    evidence = f"every entry is a {name}, so small singular values are rounding"
    return Finding(name, 0.95, evidence, rounding=2.0 ** -(bits + 1))


def find_clipping(deltas: list[np.ndarray]) -> Finding:
    """The norm that the update was clipped to. value: the norm, or 0."""
    norms = np.sqrt(sum(np.square(d.reshape(len(d), -1), dtype=float).sum(axis=1) for d in deltas))
    norm = float(norms[0])
    evidence = (
        f"the update's norm is {norm:.6g}"
        if len(norms) == 1
        else f"the updates' norms are {norms.min():.6g} to {norms.max():.6g}"
    )
    if norm <= 0:
        return Finding(0.0, 0.0, evidence)
    if len(norms) > 1 and np.ptp(norms) < 1e-4 * norm:
        return Finding(norm, 0.9, f"{evidence}: the same for all clients")
    one_digit = float(f"{norm:.1g}")
    round_numbers = (one_digit, float(f"{norm:.2g}") if f"{norm:.2g}"[-1] == "5" else one_digit)
    if len(norms) == 1 and any(abs(norm - one) < 1e-4 * norm for one in round_numbers):
        return Finding(norm, 0.6, f"{evidence}: a round number, as clipping norms are")
    return Finding(0.0, 0.5, f"{evidence}: no round number, and different for each client")


def find_entry_clipping(deltas: list[np.ndarray], before: list[np.ndarray], factor: float) -> Finding:
    """The size that entries were clipped to, one by one. value: the size, or 0.

    Many entries have exactly the largest size, few are just below it, and those below have all sizes. Steps
    of an adaptive optimiser approach the largest size, and steps of one size have few sizes in all. deltas:
    [D, …] each. before: the weights that were subtracted. factor: by which the delta was multiplied after
    that.
    """
    weights = np.concatenate([np.abs(weight).ravel() for weight in before]).astype(np.float64)
    for draw in range(len(deltas[0])):
        sizes = np.concatenate([np.abs(delta[draw]).ravel() for delta in deltas]).astype(np.float64)
        limit = sizes.max(initial=0.0)
        if not limit:
            continue
        # A clipped gradient is seen as a difference of rounded weights.
        error = 4 * FLOAT32_ROUNDING * abs(factor) * (weights + limit) + 1e-6 * limit
        at_limit = int((sizes >= limit - error).sum())
        rest = sizes[(sizes > 0) & (sizes < limit - error)]
        near = int((rest >= 0.99 * limit).sum())
        kinds = len(np.unique(np.round(rest / limit * 1000)))
        if at_limit >= max(8, 10 * near) and near < 0.2 * len(rest) and kinds >= min(300, len(rest) / 3):
            share = at_limit / max(at_limit + len(rest), 1)
            evidence = f"{at_limit} entries ({share:.1%}) have exactly the largest size {limit:.3g}"
            return Finding(float(limit), 0.9, evidence)
    return Finding(0.0, 0.7, "entries do not pile up at the largest size")


def find_sparsity(deltas: list[np.ndarray], before: list[np.ndarray], factor: float) -> Finding:
    """The share of entries that were dropped (top-k). value: the share, or 0.

    Pixels that are always 0 and inactive units leave whole rows and columns at zero, dropping leaves single
    entries at zero. So only rows and columns with a non-zero entry are counted. Entries of a gradient have
    all sizes down to zero, or to the rounding of the weights. Where the small ones were dropped, the smallest
    is not far below the median. before: the weights that were subtracted. factor: by which the delta was
    multiplied after that.
    """
    shares, sizes, cut = [], [], 0
    for delta, weight in zip(deltas, before, strict=True):
        rounding = 16 * FLOAT32_ROUNDING * abs(factor) * float(np.abs(weight).max(initial=0.0))
        for one in delta:
            matrix = np.abs(one.reshape(-1, one.shape[-1]))
            nonzero = matrix[(matrix != 0).any(axis=1)][:, (matrix != 0).any(axis=0)]
            if nonzero.size >= 64 and min(nonzero.shape) > 1:
                shares.append(float((nonzero == 0).mean()))
                sizes.append(nonzero.size)
                cut += shares[-1] > 0.01 and _lacks_small(nonzero[nonzero > 0], rounding)
    if not shares:
        return Finding(0.0, 0.0, "no kernel is large enough")
    share, least = float(np.average(shares, weights=sizes)), min(shares)
    evidence = f"{share:.0%} of the entries in non-zero rows and columns are exactly zero"
    if share > 0.5 and least > 0.2:
        return Finding(share, 0.7, f"{evidence}: small entries were probably dropped (top-k)")
    if cut:
        return Finding(share, 0.9, f"{evidence}, and a kernel has no small ones: they were dropped (top-k)")
    return Finding(0.0, 0.7, evidence)


def _lacks_small(sizes: np.ndarray, rounding: float) -> bool:
    """Whether small entries are missing among sizes > 0, other than in steps of one size."""
    smallest, median = float(sizes.min()), float(np.median(sizes))
    of_one_size = median >= ONE_SIZE * float(np.quantile(sizes, 0.999))
    return not of_one_size and smallest > max(NO_SMALL * median, rounding)


def standard_deviations(
    deltas: list[np.ndarray], noise: Finding, precision: Finding, sparsity: Finding, steps: np.ndarray
) -> np.ndarray:
    """The error of each variable's entries by the findings, as a standard deviation of white noise [L].

    Dropped entries count as uniform between zero and the smallest entry that was kept, quantised ones as
    uniform over a step. deltas: [D, …] each. steps: of ``find_quantisation`` [L].
    """
    variances = []
    for delta, step in zip(deltas, steps, strict=True):
        sizes = np.abs(delta.astype(np.float64))
        variance = noise.value**2 + step**2 / 12
        if precision.value != "float32":
            variance += precision.rounding**2 * np.mean(sizes**2)
        if precision.value == "float16":
            variance += np.mean((sizes > 0) & (sizes < FLOAT16_NORMAL)) * FLOAT16_STEP**2 / 12
        if sparsity.value and (sizes > 0).any():
            variance += np.mean(sizes == 0) * sizes[sizes > 0].min() ** 2 / 3
        variances.append(variance)
    return np.sqrt(variances)
