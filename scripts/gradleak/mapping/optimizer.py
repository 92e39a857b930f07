"""The family of the client's optimiser: SGD (with or without momentum), adaptive (Adam), or unknown."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.head import Head

# ``zero_sum`` of the last kernel: at most EXACT for SGD, at least BROKEN for Adam.
EXACT, BROKEN = 1e-3, 0.03
# ``evenness``, measured on simulated clients (tests/benchmarks/bench_mapping.py): Adam's deltas are above
# both, SGD's are below at least one. White noise alone has 0.205 and 1, so the first bound also separates
# noise from Adam.
EVEN_INSIDE, EVEN_BETWEEN = 0.24, 0.4
# Evenness inside kernels whose entries have one size: that of a step, whatever the gradient. Several steps in
# the same direction look the same, so this does not show how many there were.
ONE_SIZE = 0.9
# Names in metadata → family. The first step of Adagrad divides each entry by its own size, too.
FAMILIES = dict.fromkeys(("sgd", "momentum", "nesterov"), "sgd") | dict.fromkeys(
    (
        "adam",
        "adamw",
        "nadam",
        "amsgrad",
        "adamax",
        "rmsprop",
        "adagrad",
        "adadelta",
        "yogi",
        "signsgd",
        "lion",
    ),
    "adam",
)


def zero_sum(head: np.ndarray) -> float:
    """Norm of the sums over the classes, divided by the norm of the last layer's delta [d, C] or [C].

    It is about 1 for unrelated entries. The softmax gradient p − e_y sums to zero, and so does every linear
    combination of gradients, such as the deltas of SGD and momentum after any number of steps. Adam divides
    each entry by its own size, which breaks the sums.
    """
    head = head.astype(np.float64)
    return float(np.linalg.norm(head.sum(axis=-1)) / max(float(np.linalg.norm(head)), 1e-300))


def rounding(head: np.ndarray, weight: np.ndarray, factor: float, error: float = 0.0) -> float:
    """``zero_sum`` that the float32 rounding of the subtracted weights alone would give.

    error: standard deviation of further errors of the entries, such as quantisation.
    """
    weights = factor * FLOAT32_ROUNDING * np.sqrt(np.sum(np.square(weight, dtype=float)))
    noise = np.hypot(weights, error * np.sqrt(head.size))
    return float(noise / max(float(np.linalg.norm(head.astype(np.float64))), 1e-300))


def sums_vanish(head: np.ndarray, weight: np.ndarray, factor: float, error: float = 0.0) -> bool:
    """Whether the sums of the last layer's delta [d, C] over its classes are zero up to rounding.

    So they are for a loss of the softmax alone under SGD. factor, error: as in ``rounding``.
    """
    return zero_sum(head) <= max(EXACT, 10 * rounding(head, weight, factor, error))


def evenness(deltas: list[np.ndarray]) -> tuple[float, float]:
    """How similar the sizes of a delta's entries are, inside kernels and between tensors; both in [0, 1].

    Inside: median / 99.9th percentile of the non-zero |entries|, the median over kernels. Between: smallest /
    largest root mean square of a tensor's non-zero entries.
    """
    inside, sizes = [], []
    for delta in deltas:
        entries = np.abs(delta[delta != 0]).astype(np.float64)
        if not len(entries):
            continue
        sizes.append(float(np.sqrt(np.mean(entries**2))))
        if delta.ndim > 1:
            inside.append(float(np.median(entries) / np.quantile(entries, 0.999)))
    if not inside:
        return 0.0, 0.0
    return float(np.median(inside)), min(sizes) / max(sizes)


def find_optimizer(
    deltas: list[np.ndarray],
    before: list[np.ndarray],
    head: Head | None,
    factor: float = 1.0,
    is_hidden: bool = False,
    error: float = 0.0,
) -> Finding:
    """The family of one draw; value: sgd (momentum included), adam (any adaptive optimiser) or unknown.

    deltas: of one draw, in the model's order. before: the weights that were subtracted. head: the last dense
    layer, None if there is none. factor: the delta was multiplied by it after that. is_hidden: noise,
    clipping by entry or dropped entries were found on the update, which break the sums under SGD, and make
    entries alike. error: standard deviation of further errors of the last kernel's entries, such as
    quantisation.
    """
    if head is None:
        return Finding(UNKNOWN, 0.0, "without a last dense layer there are no sums over the classes")
    place = head.kernel_index
    if not any(np.any(d) for d in deltas):
        return Finding(UNKNOWN, 0.0, "the update is zero")
    sums = zero_sum(deltas[place])
    by_rounding = rounding(deltas[place], before[place], factor, error)
    inside, between = evenness(deltas)
    bound = max(EXACT, 10 * by_rounding)
    evidence = f"the last kernel's sums over the classes are {sums:.1e} of it (SGD: at most {bound:.0e})"
    if by_rounding > BROKEN / 3:
        return Finding(UNKNOWN, 0.0, f"{evidence}; rounding alone would give {by_rounding:.1e}")
    exact = sums_vanish(deltas[place], before[place], factor, error)
    even = inside >= EVEN_INSIDE and between >= EVEN_BETWEEN
    sizes = (
        f"entries of a kernel have {_alike(inside >= EVEN_INSIDE)} sizes ({inside:.2f}), "
        f"tensors have {_alike(between >= EVEN_BETWEEN)} sizes ({between:.2f})"
    )
    # One layer at the input repeats the sizes of its inputs, which may be alike: 0 and 1 are.
    one_size = inside >= ONE_SIZE and sum(d.ndim > 1 for d in deltas) > 1
    if not head.has_sums:
        return _by_sizes(one_size and even and not error and not is_hidden, sizes)
    evidence = f"{evidence}; {sizes}"
    if exact and not even:
        return Finding("sgd", 0.99, f"{evidence}: SGD, with or without momentum")
    if is_hidden:
        return Finding(UNKNOWN, 0.0, f"{evidence}: what was done to the entries hides it")
    if even and not error and (sums >= BROKEN or (exact and one_size)):
        return Finding("adam", 0.95, f"{evidence}: an adaptive optimiser such as Adam")
    return Finding(UNKNOWN, 0.0, f"{evidence}: neither fits (another loss, noise, clipping by entry, …)")


def _by_sizes(is_one: bool, evidence: str) -> Finding:
    """The family of a sigmoid's draw, whose sums over the classes show nothing. is_one: entries have one
    size.
    """
    evidence = f"{evidence}; a sigmoid's gradient has no sums that would show SGD"
    return Finding("adam", 0.75, evidence) if is_one else Finding(UNKNOWN, 0.0, evidence)


def _alike(even: bool) -> str:
    return "similar" if even else "different"


def common_optimizer(of_draws: list[Finding], stated: Any) -> Finding:
    """The family on which the draws agree, since all clients follow one protocol. stated: by the metadata."""
    known = [one for one in of_draws if one.value != UNKNOWN]
    values = {one.value for one in known}
    if len(values) != 1:
        disagree = "; draws disagree" if values else ""
        return Finding(UNKNOWN, 0.0, of_draws[0].evidence + disagree)
    first = known[0]
    share = f"found in {len(known)} of {len(of_draws)} draws; the first: " if len(of_draws) > 1 else ""
    contradicts: tuple[Contradiction, ...] = ()
    if isinstance(stated, str) and FAMILIES.get(stated.lower(), first.value) != first.value:
        contradicts = (Contradiction("metadata", stated[:40], "update", first.value),)
    confidence = first.confidence * len(known) / len(of_draws)
    return Finding(first.value, confidence, share + first.evidence, contradicts)
