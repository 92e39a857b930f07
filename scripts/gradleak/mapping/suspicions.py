"""What may have been done to the update before it was shared: noise, clipping, sparsification. Suspected, never certain."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.mapping import optimizer
from gradleak.mapping.sign import head_of


def find_noise(deltas: list[np.ndarray], before: list[np.ndarray], factor: float) -> dict[str, Any]:
    """White noise, from two places that noise alone reaches alike. value: its standard deviation, or 0.

    The head's sums over classes are zero under SGD, so what is left of them is noise (σ √C); and most entries of a
    large kernel are small, so their median size bounds it (σ ≤ median / 0.674). Noise makes the two agree; Adam's
    entries are of like size too, but not spread as a Gaussian is. deltas: [D, …], before: the weights subtracted.
    """
    head, _ = head_of(deltas)
    sums = head.astype(np.float64).sum(axis=-1)
    by_sums = float(np.sqrt(np.mean(sums**2) / head.shape[-1]))
    place = next(i for i, d in enumerate(deltas) if d is head)
    rounding = factor * optimizer.FLOAT_NOISE * float(np.sqrt(np.mean(np.square(before[place], dtype=float))))
    kernels = [d for d in deltas if d.ndim > 2 and d.size >= 64]
    if not kernels or by_sums <= 0:
        return {"value": 0.0, "confidence": 0.0, "evidence": "no kernel large enough to tell"}
    by_median = [float(np.median(np.abs(d)) / 0.6745) for d in kernels]
    smallest = min(by_median)
    evidence = f"the head's sums suggest σ = {by_sums:.1e}, the quietest kernel's median {smallest:.1e}, rounding {rounding:.1e}"
    quiet = kernels[int(np.argmin(by_median))].astype(np.float64)
    body = quiet[np.abs(quiet) < 6 * max(by_sums, 1e-300)]
    kurtosis = float(np.mean(body**4) / max(np.mean(body**2) ** 2, 1e-300)) if body.size > 64 else 0.0
    found = by_sums > 20 * rounding and 0.7 < smallest / by_sums < 1.4 and 2.4 < kurtosis < 3.6 and not np.any(quiet == 0)
    if found:
        return {"value": by_sums, "confidence": 0.8, "evidence": f"{evidence}; they agree, and its entries are spread like a Gaussian's"}
    return {"value": 0.0, "confidence": 0.7, "evidence": f"{evidence}; they do not look like the same noise"}


def find_precision(deltas: list[np.ndarray]) -> dict[str, Any]:
    """The coarsest number format that holds every entry. value: float16, bfloat16 or float32; ``rounding``: relative."""
    with np.errstate(over="ignore"):
        half = all(np.array_equal(d, d.astype(np.float16).astype(np.float32)) for d in deltas)
    brain = all(not np.any(np.ascontiguousarray(d, np.float32).view(np.uint32) & 0xFFFF) for d in deltas)
    if not any(np.any(d) for d in deltas) or not (half or brain):
        return {"value": "float32", "rounding": 2.0**-25, "confidence": 0.9, "evidence": "its entries use all digits of a float32"}
    name, bits = ("float16", 11) if half else ("bfloat16", 8)
    return {"value": name, "rounding": 2.0 ** -(bits + 1), "confidence": 0.95,
            "evidence": f"every entry is a {name}: small singular values are rounding"}  # fmt: skip


def find_clipping(deltas: list[np.ndarray]) -> dict[str, Any]:
    """A norm that was clipped to. value: the norm, or 0."""
    norms = np.sqrt(sum(np.square(d.reshape(len(d), -1), dtype=float).sum(axis=1) for d in deltas))
    norm = float(norms[0])
    evidence = f"the update's norm is {norm:.6g}" if len(norms) == 1 else f"the updates' norms are {norms.min():.6g} to {norms.max():.6g}"
    if norm <= 0:
        return {"value": 0.0, "confidence": 0.0, "evidence": evidence}
    if len(norms) > 1 and np.ptp(norms) < 1e-4 * norm:
        return {"value": norm, "confidence": 0.9, "evidence": f"{evidence}: all clients have the same"}
    round_one = float(f"{norm:.1g}"), float(f"{norm:.2g}") if f"{norm:.2g}"[-1] == "5" else float(f"{norm:.1g}")
    if len(norms) == 1 and any(abs(norm - one) < 1e-4 * norm for one in round_one):
        return {"value": norm, "confidence": 0.6, "evidence": f"{evidence}: a round number, as a clipping norm is"}
    return {"value": 0.0, "confidence": 0.5, "evidence": f"{evidence}: no round number, and no two clients' alike"}


def find_sparsity(deltas: list[np.ndarray]) -> dict[str, Any]:
    """Entries that were dropped (top-k). value: the share that was dropped, or 0.

    Unlit pixels and dead units leave whole rows and columns at zero; dropping leaves single entries. Counted in the
    rows and columns that have something.
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
        return {"value": 0.0, "confidence": 0.0, "evidence": "no kernel large enough to tell"}
    share, least = float(np.average(shares, weights=sizes)), min(shares)
    evidence = f"{share:.0%} of the entries in live rows and columns are exactly zero"
    if share > 0.5 and least > 0.2:
        return {"value": share, "confidence": 0.7, "evidence": f"{evidence}: small entries were probably dropped (top-k)"}
    return {"value": 0.0, "confidence": 0.7, "evidence": evidence}
