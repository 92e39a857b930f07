"""What may have been done to the update before it was shared: noise, clipping, sparsification, rounding. Suspected, never certain."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.sign import head_of


def find_noise(deltas: list[np.ndarray], before: list[np.ndarray], factor: float) -> dict[str, Any]:
    """White noise, from two places that noise alone reaches alike. value: its standard deviation, or 0.

    The head's sums over classes are zero under SGD, so what is left of them is noise (σ √C); and the quietest row of a
    kernel (an unlit pixel, a unit that hardly fires) is little else. Noise makes the two agree, leaves no entry at
    exactly zero, and is spread as a Gaussian is; Adam's entries are not. deltas: [D, …], before: the weights subtracted.
    """
    head, _ = head_of(deltas)
    sums = head.astype(np.float64).sum(axis=-1)
    by_sums = float(np.sqrt(np.mean(sums**2) / head.shape[-1]))
    place = next(i for i, d in enumerate(deltas) if d is head)
    rounding = factor * FLOAT32_ROUNDING * float(np.sqrt(np.mean(np.square(before[place], dtype=float))))
    kernels = [d[0].reshape(-1, d.shape[-1]).astype(np.float64) for d in deltas if d.ndim > 2]
    rows = [row for k in kernels for row in (k, k.T) if row.shape[1] >= 64]
    if not rows or by_sums <= 0:
        return {"value": 0.0, "confidence": 0.0, "evidence": "no kernel large enough to tell"}
    sizes = [np.sqrt(np.mean(row**2, axis=1)) for row in rows]
    quiet = rows[int(np.argmin([np.quantile(size, 0.02) for size in sizes]))]
    order = np.argsort(np.mean(quiet**2, axis=1))[: max(1, len(quiet) // 20)]
    smallest = float(np.sqrt(np.mean(quiet[order] ** 2)))
    standard = quiet[order] / np.maximum(np.sqrt(np.mean(quiet[order] ** 2, axis=1, keepdims=True)), 1e-300)
    kurtosis = float(np.mean(standard**4))
    evidence = f"the head's sums suggest σ = {by_sums:.1e}, the quietest rows of a kernel {smallest:.1e}, rounding is {rounding:.1e}"
    found = (
        by_sums > 20 * rounding
        and 0.7 < smallest / by_sums < 1.4
        and 2.4 < kurtosis < 3.6
        and np.all(quiet != 0)
    )
    if found:
        return {
            "value": by_sums,
            "confidence": 0.8,
            "evidence": f"{evidence}; they agree, and are spread like a Gaussian",
        }
    return {"value": 0.0, "confidence": 0.7, "evidence": f"{evidence}; they do not look like the same noise"}


def find_precision(deltas: list[np.ndarray]) -> dict[str, Any]:
    """The coarsest number format that holds every entry. value: float16, bfloat16 or float32; ``rounding``: relative."""
    with np.errstate(over="ignore"):
        half = all(np.array_equal(d, d.astype(np.float16).astype(np.float32)) for d in deltas)
    brain = all(not np.any(np.ascontiguousarray(d, np.float32).view(np.uint32) & 0xFFFF) for d in deltas)
    if not any(np.any(d) for d in deltas) or not (half or brain):
        return {
            "value": "float32",
            "rounding": FLOAT32_ROUNDING,
            "confidence": 0.9,
            "evidence": "its entries use all digits of a float32",
        }
    name, bits = ("float16", 11) if half else ("bfloat16", 8)
    return {
        "value": name,
        "rounding": 2.0 ** -(bits + 1),
        "confidence": 0.95,
        "evidence": f"every entry is a {name}: small singular values are rounding",
    }


def find_clipping(deltas: list[np.ndarray]) -> dict[str, Any]:
    """A norm that was clipped to. value: the norm, or 0."""
    norms = np.sqrt(sum(np.square(d.reshape(len(d), -1), dtype=float).sum(axis=1) for d in deltas))
    norm = float(norms[0])
    evidence = (
        f"the update's norm is {norm:.6g}"
        if len(norms) == 1
        else f"the updates' norms are {norms.min():.6g} to {norms.max():.6g}"
    )
    if norm <= 0:
        return {"value": 0.0, "confidence": 0.0, "evidence": evidence}
    if len(norms) > 1 and np.ptp(norms) < 1e-4 * norm:
        return {"value": norm, "confidence": 0.9, "evidence": f"{evidence}: all clients have the same"}
    round_one = (
        float(f"{norm:.1g}"),
        float(f"{norm:.2g}") if f"{norm:.2g}"[-1] == "5" else float(f"{norm:.1g}"),
    )
    if len(norms) == 1 and any(abs(norm - one) < 1e-4 * norm for one in round_one):
        return {
            "value": norm,
            "confidence": 0.6,
            "evidence": f"{evidence}: a round number, as a clipping norm is",
        }
    return {
        "value": 0.0,
        "confidence": 0.5,
        "evidence": f"{evidence}: no round number, and no two clients' alike",
    }


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
        return {
            "value": share,
            "confidence": 0.7,
            "evidence": f"{evidence}: small entries were probably dropped (top-k)",
        }
    return {"value": 0.0, "confidence": 0.7, "evidence": evidence}


def standard_deviations(
    deltas: list[np.ndarray], noise: dict[str, Any], precision: dict[str, Any], sparsity: dict[str, Any]
) -> np.ndarray:
    """What the three findings leave uncertain of each variable's entries, as if it were white noise: [L].

    A dropped entry is taken as evenly spread below the least one that was kept.
    """
    variances = []
    for delta in deltas:
        sizes = np.abs(delta.astype(np.float64))
        variance = noise["value"] ** 2
        if precision["value"] != "float32":
            variance += precision["rounding"] ** 2 * np.mean(sizes**2)
        if sparsity["value"] and (sizes > 0).any():
            variance += np.mean(sizes == 0) * sizes[sizes > 0].min() ** 2 / 3
        variances.append(variance)
    return np.sqrt(variances)
