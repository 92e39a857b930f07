"""Which way the delta goes: after − before (downhill) or its opposite, from evidence that needs no label of the client."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.mapping.classifier import Public
from gradleak.mapping.errors import MappingError

SIGNS = ("after_minus_before", "before_minus_after")


def head_of(deltas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The last kernel's delta [D, d, C] and the last bias's [D, C], if there is one behind it."""
    if deltas[-1].ndim == 2:
        return deltas[-2], deltas[-1]
    return deltas[-1], None


def absent_columns(kernel: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Votes [D]: columns of the last kernel's delta that are nowhere positive, minus those nowhere negative.

    Behind non-negative features the gradient of an absent class's column is p̄ h ≥ 0: after − before has no positive
    entry there. Few classes are present, so most one-signed columns are of absent ones. noise: standard deviation of white
    noise on the delta; entries that may be noise alone have no sign.
    """
    least = BEYOND * noise
    positive, negative = (kernel > least).any(axis=1), (kernel < -least).any(axis=1)
    return (negative & ~positive).sum(axis=1) - (positive & ~negative).sum(axis=1)


def class_features(kernel: np.ndarray, features: np.ndarray) -> np.ndarray:
    """z scores [D]: do the columns of a class grow along what sets that class's public features apart?

    Training adds (1 − p) h of a class's own images to its column. So the trace of ⟨mean feature of class c', column c⟩,
    centred both ways, is positive for after − before; its spread under permuted classes is the yardstick.
    kernel: [D, d, C]; features: class means on public images [C, d].
    """
    apart = features - features.mean(axis=0)
    table = np.einsum("cd,bdk->bck", apart.astype(np.float64), kernel.astype(np.float64))
    table -= table.mean(axis=1, keepdims=True)
    table -= table.mean(axis=2, keepdims=True)
    classes = table.shape[1]
    # Under a random permutation the trace of a doubly centred matrix has mean 0 and variance ‖A‖² / (C − 1).
    spread = np.linalg.norm(table, axis=(1, 2)) / np.sqrt(max(classes - 1, 1))
    trace = np.trace(table, axis1=1, axis2=2)
    return np.divide(trace, spread, out=np.zeros_like(trace), where=spread > 0)


def plateau(bias: np.ndarray, softmax: np.ndarray) -> np.ndarray:
    """Votes [D]: classes at the bottom of Δb_c / p̄_c minus those at its top.

    An absent class's bias moves by −scale · p̄_c, so all absent classes share one ratio, and no class lies below it.
    For features that are never zero, where every column has one sign. bias: [D, C]; softmax: mean of public images [C].
    """
    ratio = bias / np.maximum(softmax, 1e-6)
    low, high = ratio.min(axis=1, keepdims=True), ratio.max(axis=1, keepdims=True)
    place = (ratio - low) / np.maximum(high - low, 1e-30)
    return (place < 0.1).sum(axis=1) - (place > 0.9).sum(axis=1)


def find_sign(
    deltas: list[np.ndarray],
    told: str,
    public: Public,
    meta: dict,
    adaptive: bool = False,
    noise: float = 0.0,
) -> dict[str, Any]:
    """value, confidence, evidence, and ``found``: what the update itself says, or null.

    told: the user's word, or auto. adaptive, noise: as in ``weigh``. Raises MappingError where nothing settles it: a wrong sign would make every
    attack climb the wrong way.
    """
    found, confidence, evidence = weigh(deltas, public, adaptive, noise)
    if told != "auto":
        note = "; the evidence disagrees" if found and found != told else ""
        return {
            "value": told,
            "confidence": 1.0,
            "evidence": f"target settings; {evidence}{note}",
            "found": found,
        }
    if found:
        return {"value": found, "confidence": confidence, "evidence": evidence, "found": found}
    if meta.get("sign") in SIGNS:
        return {"value": meta["sign"], "confidence": 0.5, "evidence": f"metadata; {evidence}", "found": None}
    raise MappingError(
        f"the sign of the delta cannot be settled ({evidence}): set `sign` on the target to after_minus_before or before_minus_after"
    )


def weigh(
    deltas: list[np.ndarray], public: Public, adaptive: bool = False, noise: float = 0.0
) -> tuple[str | None, float, str]:
    """(sign or None, confidence, evidence) from the update alone; all draws together.

    adaptive: the optimiser was found to be one such as Adam, whose steps keep a gradient's sign but not its size. noise: standard
    deviation of white noise that was found on the update, or 0.
    """
    kernel, bias = head_of(deltas)
    classes, expected = kernel.shape[-1], public.softmax.mean(axis=0)
    score = float(class_features(kernel, public.features).sum() / np.sqrt(len(kernel)))
    if public.positive and public.sparse:
        votes, least = absent_columns(kernel, noise), 1
        said = "columns of the last kernel that are nowhere positive, minus those nowhere negative"
    elif public.positive and bias is not None and public.softmax.max() < 0.5 and not adaptive:
        votes, least = plateau(bias, expected), 4
        said = (
            "classes that share the lowest bias change per expected probability, minus those with the highest"
        )
    elif public.positive and expected.max() < 0.3:
        # Every column has one sign here, that of p̄_c − n_c / N: most classes lie above it only if most are absent.
        votes, least = absent_columns(kernel, noise), 0.8 * classes
        said = "columns of the last kernel that are nowhere positive, minus those nowhere negative (which counts if nearly all agree)"
    else:
        votes, least = np.zeros(len(kernel), int), 1
        said = "the last layer's input can be negative or the model is sure of one class, so its columns tell nothing"
    evidence = f"{said}: {', '.join(map(str, votes[:8].tolist()))}"
    votes = np.where(np.abs(votes) >= least, votes, 0)
    total = int(np.sign(votes).sum())
    evidence += f"; growth along each class's own public features: {score:+.1f} standard errors"
    direction = int(np.sign(total))
    if direction == 0 and abs(score) >= DECISIVE:
        direction = int(np.sign(score))
    elif abs(score) >= DECISIVE and np.sign(score) != direction:
        return None, 0.0, f"{evidence}, which contradict each other"
    if direction == 0:
        return None, 0.0, evidence
    confidence = 0.99 if abs(total) == len(votes) else 0.9 if total else 0.95
    return SIGNS[0] if direction > 0 else SIGNS[1], confidence, evidence


DECISIVE = 4.0  # standard errors
BEYOND = 5.0  # standard deviations: hardly one of a few thousand entries of noise is larger
