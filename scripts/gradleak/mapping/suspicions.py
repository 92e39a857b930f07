"""Traces of defences on an update: noise, clipping, sparsification, rounding. None of them is certain."""

from __future__ import annotations

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.finding import Finding
from gradleak.mapping.sign import head_of


def find_noise(deltas: list[np.ndarray], before: list[np.ndarray], factor: float) -> Finding:
    """White noise, by two quantities that noise alone makes equal. value: its standard deviation, or 0.

    Under SGD the last layer's sums over classes are zero, so with noise they are σ √C in size. The rows of a
    kernel with the smallest entries (an unlit pixel, a unit that hardly fires) also consist of noise. So with
    noise both suggest the same σ, no entry is exactly zero, and the entries are Gaussian; Adam's entries are
    not. deltas: [D, …] each. before: the weights that were subtracted. factor: the delta was multiplied by it
    after that.
    """
    head, _ = head_of(deltas)
    sums = head.astype(np.float64).sum(axis=-1)
    by_sums = float(np.sqrt(np.mean(sums**2) / head.shape[-1]))
    place = next(i for i, d in enumerate(deltas) if d is head)
    rounding = factor * FLOAT32_ROUNDING * float(np.sqrt(np.mean(np.square(before[place], dtype=float))))
    kernels = [d[0].reshape(-1, d.shape[-1]).astype(np.float64) for d in deltas if d.ndim > 2]
    rows = [row for k in kernels for row in (k, k.T) if row.shape[1] >= 64]
    if not rows or by_sums <= 0:
        return Finding(0.0, 0.0, "no kernel is large enough")
    sizes = [np.sqrt(np.mean(row**2, axis=1)) for row in rows]
    quiet = rows[int(np.argmin([np.quantile(size, 0.02) for size in sizes]))]
    order = np.argsort(np.mean(quiet**2, axis=1))[: max(1, len(quiet) // 20)]
    smallest = float(np.sqrt(np.mean(quiet[order] ** 2)))
    standard = quiet[order] / np.maximum(np.sqrt(np.mean(quiet[order] ** 2, axis=1, keepdims=True)), 1e-300)
    kurtosis = float(np.mean(standard**4))
    evidence = (
        f"the last layer's sums suggest σ = {by_sums:.1e}, the smallest rows of a kernel {smallest:.1e}, "
        f"rounding is {rounding:.1e}"
    )
    agree = 0.7 < smallest / by_sums < 1.4 and 2.4 < kurtosis < 3.6
    if by_sums > 20 * rounding and agree and np.all(quiet != 0):
        return Finding(by_sums, 0.8, f"{evidence}; they agree and are Gaussian")
    return Finding(0.0, 0.7, f"{evidence}; they differ, or are not Gaussian")


def find_precision(deltas: list[np.ndarray]) -> Finding:
    """The coarsest number format that holds every entry. value: float16, bfloat16 or float32."""
    with np.errstate(over="ignore"):
        half = all(np.array_equal(d, d.astype(np.float16).astype(np.float32)) for d in deltas)
    brain = all(not np.any(np.ascontiguousarray(d, np.float32).view(np.uint32) & 0xFFFF) for d in deltas)
    if not any(np.any(d) for d in deltas) or not (half or brain):
        return Finding("float32", 0.9, "its entries use all digits of a float32", rounding=FLOAT32_ROUNDING)
    name, bits = ("float16", 11) if half else ("bfloat16", 8)
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


def find_sparsity(deltas: list[np.ndarray]) -> Finding:
    """The share of entries that were dropped (top-k). value: the share, or 0.

    Unlit pixels and dead units leave whole rows and columns at zero, dropping leaves single entries at zero.
    So only rows and columns with a non-zero entry are counted.
    """
    shares, sizes = [], []
    for delta in deltas:
        for one in delta:
            matrix = one.reshape(-1, one.shape[-1])
            alive = matrix[(matrix != 0).any(axis=1)][:, (matrix != 0).any(axis=0)]
            if alive.size >= 64 and min(alive.shape) > 1:
                shares.append(float((alive == 0).mean()))
                sizes.append(alive.size)
    if not shares:
        return Finding(0.0, 0.0, "no kernel is large enough")
    share, least = float(np.average(shares, weights=sizes)), min(shares)
    evidence = f"{share:.0%} of the entries in live rows and columns are exactly zero"
    if share > 0.5 and least > 0.2:
        return Finding(share, 0.7, f"{evidence}: small entries were probably dropped (top-k)")
    return Finding(0.0, 0.7, evidence)


def standard_deviations(
    deltas: list[np.ndarray], noise: Finding, precision: Finding, sparsity: Finding
) -> np.ndarray:
    """The error of each variable's entries by the three findings, as a standard deviation of white noise [L].

    Dropped entries count as uniform between zero and the smallest entry that was kept. deltas: [D, …] each.
    """
    variances = []
    for delta in deltas:
        sizes = np.abs(delta.astype(np.float64))
        variance = noise.value**2
        if precision.value != "float32":
            assert precision.rounding is not None  # find_precision gives it with every format
            variance += precision.rounding**2 * np.mean(sizes**2)
        if sparsity.value and (sizes > 0).any():
            variance += np.mean(sizes == 0) * sizes[sizes > 0].min() ** 2 / 3
        variances.append(variance)
    return np.sqrt(variances)
