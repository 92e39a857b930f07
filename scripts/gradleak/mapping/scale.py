"""Delta per unit of gradient: learning rate × effective steps × client weight, with a check from the update itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.mapping.sign import head_of


def find_scale(
    deltas: list[np.ndarray], factor: float, softmax: np.ndarray, told: float | str, meta: dict
) -> dict[str, Any]:
    """Delta per unit of gradient. The server knows learning rate × steps; the update itself gives a check.

    A class that is absent has the bias gradient p̄_c, so Σ |delta| / Σ p̄ over absent classes ≈ the scale.
    """
    kernel, bias = head_of(deltas)
    ratios = []
    if bias is not None:
        for d in range(len(bias)):
            absent = ~((factor * kernel[d]) > 0).any(axis=0) & (factor * bias[d] < 0)
            present = ~absent
            if absent.any() and present.any():
                ratios.append(
                    float(np.abs(bias[d][absent]).sum() / softmax[present][:, absent].mean(axis=0).sum())
                )
    estimate = float(np.median(ratios)) if ratios else None
    # The public mean stands in for the batch's own p̄. On an untrained net they are alike; on a trained one p̄ of an
    # absent class is small and differs from batch to batch, so that no contradiction can be read off it.
    flat = softmax.max() < 0.5
    evidence = (
        f"bias deltas of absent classes suggest {estimate:.3g}{'' if flat else ' (rough: the model is trained)'}"
        if estimate
        else "no class is surely absent, so the update gives no estimate"
    )
    if told != "auto":
        return {
            "value": float(told),
            "estimate": estimate,
            "confidence": 1.0,
            "evidence": f"target settings; {evidence}",
        }
    value = _stated_scale(meta)
    if value is not None:
        agrees = estimate is None or not flat or 1 / 3 < estimate / value < 3
        return {
            "value": value,
            "estimate": estimate,
            "confidence": 0.9 if agrees else 0.3,
            "evidence": f"learning rate × steps of the metadata; {evidence}"
            + ("" if agrees else ": they contradict each other"),
        }
    if estimate:
        return {
            "value": estimate,
            "estimate": estimate,
            "confidence": 0.6 if flat else 0.3,
            "evidence": evidence,
        }
    return {
        "value": 1.0,
        "estimate": None,
        "confidence": 0.0,
        "evidence": f"unknown, taken as 1 (cosine losses do not care); {evidence}",
    }


def _stated_scale(meta: dict) -> float | None:
    """Learning rate × effective steps × client weight, where the (untrusted) metadata makes sense; else None."""
    rate, weight = positive(meta.get("learning_rate")), positive(meta.get("client_weight", 1.0))
    steps, momentum = positive(meta.get("local_steps", 1)), meta.get("momentum") or 0.0
    if rate is None or weight is None or steps is None or meta.get("optimizer", "sgd") == "adam":
        return None
    if not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        return None
    # Σ_k (1 − m^k) / (1 − m) for k = 1 … steps: what one unit of a constant gradient comes to.
    effective = (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
    value = rate * effective * weight
    return value if np.isfinite(value) and value > 0 else None


def positive(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e30 else None
