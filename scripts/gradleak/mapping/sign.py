"""The sign of the delta: after − before or its opposite, from evidence that needs no label of the client."""

from __future__ import annotations

import numpy as np

from gradleak.mapping.claims import AUTO
from gradleak.mapping.classifier import Public
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding

SIGNS = ("after_minus_before", "before_minus_after")
DECISIVE = 4.0  # standard errors
BEYOND = 5.0  # standard deviations: white noise exceeds it in hardly one of a few thousand entries


def head_of(deltas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The deltas of the last kernel [D, d, C] and of its bias [D, C], None if the last layer has none."""
    if deltas[-1].ndim == 2:
        return deltas[-2], deltas[-1]
    return deltas[-1], None


def absent_columns(kernel: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Votes [D]: columns of the last kernel without a positive entry, minus those without a negative one.

    With non-negative features, the gradient of an absent class's column is p̄ h ≥ 0, so after − before has no
    positive entry there. Few classes are present, so most columns of one sign are of absent classes. noise:
    standard deviation of white noise on the delta; entries that may be noise alone have no sign.
    """
    least = BEYOND * noise
    positive, negative = (kernel > least).any(axis=1), (kernel < -least).any(axis=1)
    return (negative & ~positive).sum(axis=1) - (positive & ~negative).sum(axis=1)


def class_features(kernel: np.ndarray, features: np.ndarray) -> np.ndarray:
    """z scores [D]: does each class's column grow along the features that distinguish the class?

    Training adds (1 − p) h of a class's images to its column. So the trace of ⟨mean feature of class c',
    column c⟩, centred both ways, is positive for after − before. It is measured in units of its standard
    deviation under permuted classes. kernel: [D, d, C]. features: class means on public images [C, d].
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
    """Votes [D]: classes with the lowest Δb_c / p̄_c, minus those with the highest.

    The bias of an absent class changes by −scale · p̄_c. So all absent classes have the same ratio, and no
    class has a lower one. For features that are never zero, where every column has one sign. bias: [D, C].
    softmax: mean of public images [C].
    """
    ratio = bias / np.maximum(softmax, 1e-6)
    low, high = ratio.min(axis=1, keepdims=True), ratio.max(axis=1, keepdims=True)
    place = (ratio - low) / np.maximum(high - low, 1e-30)
    return (place < 0.1).sum(axis=1) - (place > 0.9).sum(axis=1)


def sign_evidence(
    deltas: list[np.ndarray],
    public: Public,
    adaptive: bool = False,
    noise: float = 0.0,
    is_known: bool = True,
) -> Finding:
    """The sign by the update alone, over all draws. value: one of SIGNS, or None if it is undetermined.

    deltas: [D, …] each. adaptive: the optimiser is one such as Adam, whose steps keep the sign of a gradient
    but not its size. noise: standard deviation of white noise found on the update, or 0. is_known: the client
    evaluated the network of ``public``; else it normalised by the statistics of its batch, perhaps, and no
    evidence by its softmax counts.
    """
    kernel, bias = head_of(deltas)
    score = float(class_features(kernel, public.features).sum() / np.sqrt(len(kernel)))
    votes, least, counted = _votes(kernel, bias, public, adaptive, noise, is_known)
    evidence = f"{counted}: {', '.join(map(str, votes[:8].tolist()))}"
    votes = np.where(np.abs(votes) >= least, votes, 0)
    total = int(np.sign(votes).sum())
    evidence += f"; growth along each class's own public features: {score:+.1f} standard errors"
    direction = int(np.sign(total))
    if direction == 0 and abs(score) >= DECISIVE:
        direction = int(np.sign(score))
    elif abs(score) >= DECISIVE and np.sign(score) != direction:
        return Finding(None, 0.0, f"{evidence}; the two contradict each other")
    if direction == 0:
        return Finding(None, 0.0, evidence)
    confidence = 0.99 if abs(total) == len(votes) else 0.9 if total else 0.95
    return Finding(SIGNS[0] if direction > 0 else SIGNS[1], confidence, evidence)


def _votes(
    kernel: np.ndarray, bias: np.ndarray | None, public: Public, adaptive: bool, noise: float, is_known: bool
) -> tuple[np.ndarray, float, str]:
    """(votes of each draw [D], the least number of votes that counts, what was counted)."""
    classes, expected = kernel.shape[-1], public.softmax.mean(axis=0)
    columns = "columns of the last kernel without a positive entry, minus those without a negative one"
    if public.positive and public.sparse:
        return absent_columns(kernel, noise), 1, columns
    if not is_known:
        nothing = (
            "BatchNorm layers may have used other statistics, so public probabilities are not the client's"
        )
        return np.zeros(len(kernel), int), 1, nothing
    if public.positive and bias is not None and public.softmax.max() < 0.5 and not adaptive:
        lowest = "classes with the lowest bias change per expected probability, minus those with the highest"
        return plateau(bias, expected), 4, lowest
    if public.positive and expected.max() < 0.3:
        # Here each column has one sign, that of p̄_c − n_c / N. Most columns are positive only if most
        # classes are absent.
        return absent_columns(kernel, noise), 0.8 * classes, f"{columns} (counted if nearly all agree)"
    reason = (
        "the last layer's input can be negative, or the model prefers one class, so its columns show no sign"
    )
    return np.zeros(len(kernel), int), 1, reason


def find_sign(evidence: Finding, claimed: str, meta: dict) -> Finding:
    """The sign: of the user, else of the update, else of the metadata. estimate: of the update, or None.

    evidence: of ``sign_evidence``. claimed: by the user, or auto. meta: untrusted. Raises MappingError if the
    sign is undetermined: with a wrong sign every attack would ascend.
    """
    found, text = evidence.value, evidence.evidence
    contradicts = []
    if meta.get("sign") in SIGNS and found not in (None, meta["sign"]):
        contradicts.append(Contradiction("metadata", meta["sign"], "update", found))
    if claimed != AUTO:
        if found not in (None, claimed):
            contradicts.append(Contradiction("settings", claimed, "update", found))
            text = f"{text}; the evidence disagrees"
        return Finding(claimed, 1.0, f"target settings; {text}", tuple(contradicts), found)
    if found:
        return Finding(found, evidence.confidence, text, tuple(contradicts), found)
    if meta.get("sign") in SIGNS:
        return Finding(meta["sign"], 0.5, f"metadata; {text}")
    raise MappingError(
        f"the sign of the delta cannot be determined ({text}): "
        "set `sign` on the target to after_minus_before or before_minus_after"
    )
