"""The scale: delta per unit of gradient, which is learning rate × effective steps × client weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.mapping.claims import AUTO
from gradleak.mapping.classifier import Public
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.head import SIGMOIDS, head_of
from gradleak.mapping.metadata import PROPORTIONAL

WITHOUT_PUBLIC = "; there are no public images to show the model's probabilities"
FLAT = 0.5  # largest mean softmax of a class by which a model counts as untrained
CONFIDENT = 0.75  # median softmax of the true class from which a model counts as well trained
# Standard deviation of log(estimate / scale) for one step, by the model (tests/benchmarks/bench_mapping.py).
# The gradient of a well-trained model comes from the few images with a large loss, whose p̄ is not the mean's.
ERROR_FLAT, ERROR_TRAINED, ERROR_CONFIDENT = 0.03, 0.3, 0.8
# Of features that are never zero, columns of one sign may also be of present classes, so the estimate is low.
ERROR_DENSE = 0.3
# Without public images the probabilities are those of noise, where these are much the same for all noise, and
# then at most so far from those of real images (``without_public.FLAT_RATIO``).
ERROR_NOISE = 0.2
# A statement is contradicted beyond this many errors, plus a factor: smoothed labels with ε = 0.1 and the
# change of p̄ during a step are no contradiction.
ERRORS, FACTOR = 3.0, 1.15


@dataclass(frozen=True)
class Estimate:
    """value: delta per unit of gradient. error: standard deviation of the logarithm of value / scale.

    It is biased down for several local steps, during which the probabilities of absent classes fall.
    """

    value: float
    error: float


def absent_class_scale(deltas: list[np.ndarray], public: Public, factor: float) -> Estimate | None:
    """The scale by the update itself, the median over draws. None if no class is sure to be absent.

    The bias of an absent class has the gradient p̄_c, so Σ |delta| / Σ p̄ over absent classes is about the
    scale. deltas: [D, …] each. factor: 1 if they are after − before, −1 if before − after. The mean softmax
    of public images by true class stands for the p̄ of the batch; its spread over the classes is part of the
    error. Without public images that of noise stands for it, where it is the same for all noise.
    """
    if public.head is None or not (public.has_images or public.is_flat):
        return None
    kernel, bias = head_of(deltas, public.head)
    softmax, ratios, spreads = public.softmax, [], []
    # Of two classes the columns are opposite, and those of one sign are also of unequal counts.
    if bias is None or bias.shape[1] <= 2 or public.head.output == SIGMOIDS:
        return None
    for d in range(len(bias)):
        absent = ~((factor * kernel[d]) > 0).any(axis=0) & (factor * bias[d] < 0)
        present = ~absent
        if absent.any() and present.any():
            expected = softmax[present][:, absent].sum(axis=1)
            # In this order, so that estimates stay the same to the last digit.
            mean = softmax[present][:, absent].mean(axis=0).sum()
            ratios.append(float(np.abs(bias[d][absent]).sum() / mean))
            spreads.append(float(expected.std() / expected.mean()))
    if not ratios:
        return None
    own = ERROR_FLAT
    if softmax.max() >= FLAT:
        own = ERROR_CONFIDENT if np.median(np.diag(softmax)) >= CONFIDENT else ERROR_TRAINED
    if not public.is_known:
        own = ERROR_CONFIDENT
    if not public.sparse:
        own = max(own, ERROR_DENSE)
    if not public.has_images:
        own = max(own, ERROR_NOISE)
    return Estimate(float(np.median(ratios)), float(np.hypot(own, np.median(spreads))))


def find_scale(
    estimate: Estimate | None,
    claimed: float | str,
    meta: dict,
    has_public: bool = True,
    factor: float | None = 1.0,
) -> Finding:
    """The scale: of the user, else of the metadata unless the estimate contradicts them, else the estimate,
    else 1.

    estimate: of ``absent_class_scale``. meta: untrusted. has_public: whether there are public images.
    factor: of the client's loss, per mean over the images, None if it is not known. The finding's error is
    that of the estimate.
    """
    number, error = (estimate.value, estimate.error) if estimate else (None, None)
    evidence = _evidence(estimate) + ("" if has_public else WITHOUT_PUBLIC)
    if claimed != AUTO:
        return Finding(float(claimed), 1.0, f"target settings; {evidence}", estimate=number, error=error)
    value = _stated_scale(meta)
    if value is not None and factor is not None:
        value *= factor
        is_stated = "local_steps" in meta
        steps = "steps" if is_stated else "one step, since no number of steps is stated,"
        evidence = f"learning rate × {steps} of the metadata; {evidence}"
        if estimate is None or not _contradicts(estimate, value, meta.get("local_steps")):
            return Finding(value, 0.9 if is_stated else 0.6, evidence, estimate=number, error=error)
        contradicts = (Contradiction("metadata", value, "update", number),)
        evidence = f"{evidence}: they contradict each other, and the estimate is used"
        return Finding(number, 0.3, evidence, contradicts, number, error=error)
    if estimate:
        confidence = 0.6 if estimate.error < 0.1 else 0.45 if estimate.error < ERROR_CONFIDENT / 2 else 0.3
        return Finding(number, confidence, evidence, estimate=number, error=error)
    return Finding(1.0, 0.0, f"unknown, so 1 is used (cosine losses do not depend on it); {evidence}")


def _evidence(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no class is surely absent, so the update gives no estimate"
    factor = np.exp(estimate.error)
    return f"bias deltas of absent classes suggest {estimate.value:.3g}, within a factor {factor:.2f}"


def _contradicts(estimate: Estimate, stated: float, steps: Any) -> bool:
    """Whether the estimate is too far from the stated scale. An estimate that is too small contradicts only a
    single step.
    """
    off = float(np.log(estimate.value / stated))
    beyond = abs(off) > ERRORS * estimate.error + np.log(FACTOR)
    return beyond and (off > 0 or (steps == 1 and estimate.error < ERROR_CONFIDENT))


def _stated_scale(meta: dict) -> float | None:
    """Learning rate × effective steps × client weight; None where the (untrusted) metadata are unusable."""
    rate, weight = positive(meta.get("learning_rate")), positive(meta.get("client_weight", 1.0))
    steps, optimizer = positive(meta.get("local_steps", 1)), meta.get("optimizer", "sgd")
    if rate is None or weight is None or steps is None or optimizer not in PROPORTIONAL:
        return None
    # The first step of momentum is that of SGD, so only later ones need to know how much it is.
    single = optimizer == "momentum" and steps == 1
    momentum = meta.get("momentum", 0.0 if optimizer == "sgd" or single else None)
    if not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        return None
    # Σ_k (1 − m^k) / (1 − m) for k = 1 … steps: the change per unit of a constant gradient. Nesterov's steps
    # are those of momentum one step later (Sutskever et al. 2013, as Keras and PyTorch compute it).
    first = 2 if optimizer == "nesterov" else 1
    powers = momentum**first * (1 - momentum**steps) / (1 - momentum)
    effective = (steps - powers) / (1 - momentum)
    value = rate * effective * weight
    return value if np.isfinite(value) and value > 0 else None


def positive(value: Any) -> float | None:
    """A positive number from untrusted metadata; None if it is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e30 else None
