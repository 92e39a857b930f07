"""The scale: delta per unit of gradient, which is learning rate × effective steps × client weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.mapping.claims import AUTO
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.sign import head_of

FLAT = 0.5  # largest mean softmax of a class by which a model counts as untrained


def absent_class_scale(deltas: list[np.ndarray], factor: float, softmax: np.ndarray) -> float | None:
    """The scale by the update itself, the median over draws. None if no class is sure to be absent.

    The bias of an absent class has the gradient p̄_c, so Σ |delta| / Σ p̄ over absent classes is about the
    scale. deltas: [D, …] each. factor: 1 if they are after − before, −1 if before − after. softmax: mean
    softmax of public images by true class [C, C], which stands for the p̄ of the batch.
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
    return float(np.median(ratios)) if ratios else None


def find_scale(
    estimate: float | None, softmax: np.ndarray, claimed: float | str, meta: dict, is_known: bool = True
) -> Finding:
    """The scale: of the user, else of the metadata, else the estimate, else 1.

    estimate: of ``absent_class_scale``. softmax: as there. meta: untrusted. is_known: ``softmax`` is of the
    network that the client evaluated; BatchNorm layers in training mode make it another one.
    """
    # On an untrained model, the public mean is close to the batch's p̄. On a trained model, p̄ of an absent
    # class is small and differs from batch to batch, so the estimate contradicts nothing.
    is_flat = is_known and bool(softmax.max() < FLAT)
    if estimate:
        rough = "" if is_flat else " (rough: the probabilities of the batch may differ)"
        evidence = f"bias deltas of absent classes suggest {estimate:.3g}{rough}"
    else:
        evidence = "no class is surely absent, so the update gives no estimate"
    if claimed != AUTO:
        return Finding(float(claimed), 1.0, f"target settings; {evidence}", estimate=estimate)
    value = _stated_scale(meta)
    if value is not None:
        evidence = f"learning rate × steps of the metadata; {evidence}"
        if estimate is None or not is_flat or 1 / 3 < estimate / value < 3:
            return Finding(value, 0.9, evidence, estimate=estimate)
        contradicts = (Contradiction("metadata", value, "update", estimate),)
        return Finding(value, 0.3, f"{evidence}: they contradict each other", contradicts, estimate)
    if estimate:
        return Finding(estimate, 0.6 if is_flat else 0.3, evidence, estimate=estimate)
    return Finding(1.0, 0.0, f"unknown, so 1 is used (cosine losses do not depend on it); {evidence}")


def _stated_scale(meta: dict) -> float | None:
    """Learning rate × effective steps × client weight; None where the (untrusted) metadata are unusable."""
    rate, weight = positive(meta.get("learning_rate")), positive(meta.get("client_weight", 1.0))
    steps, momentum = positive(meta.get("local_steps", 1)), meta.get("momentum") or 0.0
    if rate is None or weight is None or steps is None or meta.get("optimizer", "sgd") == "adam":
        return None
    if not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        return None
    # Σ_k (1 − m^k) / (1 − m) for k = 1 … steps: the change per unit of a constant gradient.
    effective = (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
    value = rate * effective * weight
    return value if np.isfinite(value) and value > 0 else None


def positive(value: Any) -> float | None:
    """A positive number from untrusted metadata; None if it is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e30 else None
