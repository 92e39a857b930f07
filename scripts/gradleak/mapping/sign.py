"""The sign of the delta: after − before or its opposite, from evidence that needs no label of the client."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping import smoothing
from gradleak.mapping.claims import AUTO
from gradleak.mapping.classifier import Public
from gradleak.mapping.columns import BEYOND, absent_columns, ends, one_signed, plateau
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.head import SIGMOIDS, head_of, head_weights
from gradleak.mapping.loss import single_images
from gradleak.mapping.metadata_values import SIGNS

DECISIVE = 4.0  # standard errors
# Up to FEW_COLUMNS columns of one sign count on a confident model only if at most INCOHERENT of the update is
# along public features. COHERENT: by how much more of the update is along public features under one sign, of
# a model that is not confident; at most 0.1 under the wrong sign. By tests/benchmarks/bench_mapping.py.
FEW_COLUMNS, INCOHERENT, COHERENT = 3, 0.2, 0.3
# Most confidence in columns without public images: of an untrained model, and of one that may be trained.
BY_COLUMNS, UNCHECKED = 0.9, 0.75
LEAST_VOTES = 0.4  # of the classes: without public images, of features that are never zero. No sign of
# tests/benchmarks/bench_no_public.py sign is wrong.
LEAST_SHARE = 0.5  # of 1 / C: smoothed labels up to that ε turn no column of a class with more around
NO_PUBLIC = "there are no public images, so growth along each class's own features is not known"


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
    if classes <= 2:  # then the score is 1 or −1, whatever the update
        return np.zeros(len(kernel))
    # Under a random permutation the trace of a doubly centred matrix has mean 0 and variance ‖A‖² / (C − 1).
    spread = np.linalg.norm(table, axis=(1, 2)) / np.sqrt(max(classes - 1, 1))
    trace = np.trace(table, axis1=1, axis2=2)
    return np.divide(trace, spread, out=np.zeros_like(trace), where=spread > 0)


@dataclass(frozen=True)
class Entries:
    """What is known about the entries of a delta [L] before their sign is.

    before: weights of the round, None if they are not to be used. adaptive: the entries have the sign of a
    gradient's but not its size, by an optimiser such as Adam or by one bit per entry. noise: standard
    deviation of white noise and quantisation on the last kernel, or 0. sums_hold: whether the last layer's
    sums over the classes are zero, or another finding explains why not. dropped: entries were dropped.
    shrinks: direction in which the weights shrink (``Decay.direction``), 0 without weight decay. samples:
    images behind the update as stated, None if they are not. unshown: why the columns of the client's loss
    show no sign, or ''.
    """

    before: list[np.ndarray] | None = None
    adaptive: bool = False
    noise: float = 0.0
    sums_hold: bool = True
    dropped: bool = False
    shrinks: int = 0
    samples: int | None = None
    unshown: str = ""

    @property
    def is_coarse(self) -> bool:
        """Whether the entries are no exact multiples of a gradient's."""
        return self.adaptive or self.noise > 0


@dataclass(frozen=True)
class DrawEvidence:
    """Of one draw. direction: 1 after − before, −1 the opposite, 0 undetermined. smoothing: (kind, value) as
    in ``find_smoothing``. is_exact: the direction follows without a threshold on a count.
    """

    direction: int
    smoothing: tuple[str, float | None] = ("", None)
    is_exact: bool = False


def coherence(kernel: np.ndarray, features: np.ndarray, direction: int) -> float:
    """Share of the last kernel's squares that Σ_c q_c (e_c − 1/C) ⊗ f_c explains with the best q ≥ 0.

    This is how training moves the columns at first, with q the class counts and f_c the public mean features
    of a class. kernel: [d, C]. features: [C, d].
    """
    from scipy.optimize import nnls

    target = direction * kernel.astype(np.float64)
    total = float(np.sum(target**2))
    if not total:
        return 0.0
    classes = kernel.shape[1]
    centred = np.eye(classes) - 1 / classes
    gram = (features @ features.T) * centred
    gram += 1e-9 * np.trace(gram) * np.eye(classes)
    moments = np.einsum("cd,dk,ck->c", features.astype(np.float64), target, centred)
    upper = np.linalg.cholesky(gram).T
    counts, _ = nnls(upper, np.linalg.solve(upper.T, moments))
    return float((2 * counts @ moments - counts @ gram @ counts) / total)


def draw_evidence(deltas: list[np.ndarray], public: Public, entries: Entries) -> list[DrawEvidence]:
    """What each draw shows by the columns of its last kernel, or as a single image. deltas: [D, …] each."""
    if entries.shrinks:
        return [DrawEvidence(entries.shrinks)]
    if public.head is None or not entries.sums_hold or entries.unshown:
        return []
    if public.head.output == SIGMOIDS:
        if entries.before is None or entries.is_coarse:
            return [DrawEvidence(0)] * len(deltas[0])
        found = single_images(deltas, entries.before, public.head)
        return [DrawEvidence(one.direction if one else 0, is_exact=one is not None) for one in found]
    kernel, bias = head_of(deltas, public.head)
    votes, least, _ = _votes(kernel, bias, public, entries)
    counted = np.where(np.abs(votes) >= least, votes, 0)
    return [
        _of_draw(kernel[d], None if bias is None else bias[d], public, entries, int(counted[d]))
        for d in range(len(kernel))
    ]


def sign_evidence(
    deltas: list[np.ndarray],
    public: Public,
    entries: Entries = Entries(),
    draws: list[DrawEvidence] | None = None,
) -> Finding:
    """The sign by the update alone, over all draws. value: one of SIGNS, or None if it is undetermined.

    deltas: [D, …] each. draws: of ``draw_evidence``, which is called if they are None. The rules hold for
    losses whose gradient at the logits is w_n (p_n − target_n) with w_n > 0: cross-entropy with hard or
    smoothed labels, weighted by class or not, the focal loss, and any factor or temperature. Where the sums
    over the classes are not zero, another loss was used, and the value is None.
    """
    if entries.shrinks:
        name = SIGNS[0] if entries.shrinks > 0 else SIGNS[1]
        return Finding(name, 0.99, "weight decay shrinks the weights")
    if public.head is None:
        return Finding(None, 0.0, public.no_head)
    kernel, bias = head_of(deltas, public.head)
    if not entries.sums_hold:
        why = "the last layer's sums over the classes are not zero, so the loss is none of the softmax alone"
        return Finding(None, 0.0, why)
    if entries.unshown:
        return Finding(None, 0.0, entries.unshown)
    draws = draw_evidence(deltas, public, entries) if draws is None else draws
    if public.head.output == SIGMOIDS:
        total = int(np.sign(sum(one.direction for one in draws)))
        return _decided(total, draws, "of one sigmoid a class only a single image shows the sign")
    votes, _, counted = _votes(kernel, bias, public, entries)
    evidence = f"{counted}: {', '.join(map(str, votes[:8].tolist()))}"
    total = int(np.sign(sum(one.direction for one in draws)))
    if not public.has_images:
        return _without_public(kernel, public, entries, (total, draws, evidence))
    if np.median(np.diag(public.softmax)) >= smoothing.CONFIDENT:
        # On a confident model smoothed labels reverse the growth along a class's own features, too.
        return _decided(total, draws, evidence, is_guess=entries.adaptive)
    score = float(class_features(kernel, public.features).sum() / np.sqrt(len(kernel)))
    evidence += f"; growth along each class's own public features: {score:+.1f} standard errors"
    if total and abs(score) >= DECISIVE and np.sign(score) != total:
        return Finding(None, 0.0, f"{evidence}; the two contradict each other")
    if total:
        return _decided(total, draws, evidence)
    if abs(score) >= DECISIVE:
        return Finding(SIGNS[0] if score > 0 else SIGNS[1], 0.95, evidence)
    return _without_columns(kernel, public, entries, evidence)


def _without_public(
    kernel: np.ndarray, public: Public, entries: Entries, by_columns: tuple[int, list[DrawEvidence], str]
) -> Finding:
    """The sign where there are no public images. by_columns: direction, each draw's, and the evidence."""
    total, draws, evidence = by_columns
    evidence += f"; {NO_PUBLIC}"
    is_untrained = _excludes_smoothing(public)
    if total:
        found = _decided(total, draws, evidence, is_guess=entries.adaptive and not is_untrained)
        if all(one.is_exact for one in draws):
            return found
        most = BY_COLUMNS if is_untrained else UNCHECKED
        return replace(found, confidence=min(found.confidence, most))
    if is_untrained and public.positive and entries.samples and not entries.dropped:
        total = _by_number(kernel, entries.noise, entries.samples)
    if not total:
        return Finding(None, 0.0, evidence)
    evidence += f"; more columns have the other sign than {entries.samples} images have classes"
    return Finding(SIGNS[0] if total > 0 else SIGNS[1], 0.9, evidence)


def _without_columns(kernel: np.ndarray, public: Public, entries: Entries, evidence: str) -> Finding:
    """The sign of a model that is not confident, where columns and the growth of classes show none."""
    if not entries.adaptive:
        along = np.array([[coherence(one, public.features, sign) for sign in (1, -1)] for one in kernel])
        gap = float(np.mean(along @ [1, -1]))
        evidence += f"; along public features under either sign: {along[0][0]:.0%}, {along[0][1]:.0%} of it"
        if abs(gap) >= COHERENT:
            return Finding(SIGNS[0] if gap > 0 else SIGNS[1], 0.9, evidence)
    if public.positive and entries.samples and not entries.dropped:
        total = _by_number(kernel, entries.noise, entries.samples)
        if total:
            evidence += f"; more columns have the other sign than {entries.samples} images have classes"
            return Finding(SIGNS[0] if total > 0 else SIGNS[1], 0.9, evidence)
    return Finding(None, 0.0, evidence)


def _by_number(kernel: np.ndarray, noise: float, samples: int) -> int:
    """The direction by the stated number of images, 0 if it shows none.

    With non-negative features a column without a negative entry in after − before is of a present class, and
    there are at most ``samples`` of those.
    """
    down, up = one_signed(kernel, BEYOND * noise)
    votes = np.where((down > samples) & (up <= samples), 1, 0) - ((up > samples) & (down <= samples))
    return int(np.sign(votes.sum()))


def _decided(total: int, draws: list[DrawEvidence], evidence: str, is_guess: bool = False) -> Finding:
    """is_guess: smoothed labels would show the opposite sign."""
    if any(one.smoothing[0] == "plateau" for one in draws):
        evidence += "; columns of absent classes are equal, as of smoothed labels on a trained model"
    if any(one.is_exact for one in draws):
        evidence += "; the residual of a single image fits one sign only"
    if total == 0:
        return Finding(None, 0.0, evidence)
    confidence = 0.99 if all(one.direction == total for one in draws) else 0.9
    if is_guess:
        confidence = 0.6
        evidence += "; for hard labels, since steps of one size do not show smoothing"
    return Finding(SIGNS[0] if total > 0 else SIGNS[1], confidence, evidence)


def _of_draw(
    kernel: np.ndarray, bias: np.ndarray | None, public: Public, entries: Entries, votes: int
) -> DrawEvidence:
    """kernel [d, C], bias [C] or None: of the draw. votes: of the columns, 0 if they do not count."""
    assert public.head is not None  # without it there is no kernel
    weight, offset = (None, None) if entries.before is None else head_weights(entries.before, public.head)
    if weight is not None and offset is not None and bias is not None and not entries.is_coarse:
        exact = smoothing.one_image(kernel, bias, weight, offset)
        if exact:
            return DrawEvidence(exact[0], ("exact", exact[1]), True)
    direction = int(np.sign(votes))
    if entries.adaptive or direction == 0:
        return DrawEvidence(direction)
    least = BEYOND * entries.noise
    # np.all, since the method is typed as one bool.
    agree = np.all(-direction * kernel >= -least, axis=0)
    columns = agree & np.any(-direction * kernel > least, axis=0)
    if not entries.noise:
        absent = kernel.shape[1] - _present_at_most(kernel, weight)
        if columns.sum() < absent:
            return DrawEvidence(0)
    if not public.has_images:
        return DrawEvidence(0 if _may_be_smoothed(kernel, columns, public) else direction)
    apart = smoothing.plateau(kernel, columns, public)
    if apart <= smoothing.EQUAL and public.is_known:
        level = None if bias is None else float(np.abs(bias[columns]).max())
        return DrawEvidence(-direction, ("plateau", level))
    if apart <= smoothing.EQUAL or smoothing.is_doubtful(kernel, columns, public):
        return DrawEvidence(0)
    few = columns.sum() <= FEW_COLUMNS and np.median(np.diag(public.softmax)) >= smoothing.CONFIDENT
    # Smoothed labels can turn a few columns around. Then the update is along public features.
    if few and coherence(kernel, public.features, direction) > INCOHERENT:
        return DrawEvidence(0)
    return DrawEvidence(direction, ("sizes", None) if np.isfinite(apart) else ("", None))


def _excludes_smoothing(public: Public) -> bool:
    """Whether the model gives no class so little that smoothed labels would turn its column around."""
    is_even = public.is_flat and float(public.softmax.min()) * len(public.softmax) > LEAST_SHARE
    return is_even or public.is_trained is False


def _may_be_smoothed(kernel: np.ndarray, columns: np.ndarray, public: Public) -> bool:
    """Whether smoothed labels may have turned the columns (bool [C]) around, without public images.

    They turn those of classes that the model gives less than ε / C, which an untrained model does not. Then
    the columns are few, or some are nearly equal.
    """
    if _excludes_smoothing(public):
        return False
    return columns.sum() <= FEW_COLUMNS or smoothing.are_alike(kernel, columns)


def _present_at_most(kernel: np.ndarray, weight: np.ndarray | None) -> int:
    """The largest number of classes in the batch by the rank of the last kernel's delta [d, C].

    The rank is that of the images' residuals, unless it is C − 1, their most. weight: that was subtracted,
    whose rounding is the floor; if it is None, a thousandth of the largest singular value is.
    """
    values = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    floor = 1e-3 * float(values[0])
    if weight is not None:
        size = FLOAT32_ROUNDING * float(np.sqrt(np.mean(np.square(weight, dtype=float))))
        floor = max(1e-6 * float(values[0]), size * float(sum(np.sqrt(weight.shape))))
    rank = int((values > floor).sum())
    return rank if rank < kernel.shape[1] - 1 else kernel.shape[1]


def _votes(
    kernel: np.ndarray, bias: np.ndarray | None, public: Public, entries: Entries
) -> tuple[np.ndarray, float, str]:
    """(votes of each draw [D], the least number of votes that counts, what was counted)."""
    classes, expected = kernel.shape[-1], public.softmax.mean(axis=0)
    columns = "columns of the last kernel without a positive entry, minus those without a negative one"
    if entries.dropped:
        reason = "dropped entries leave columns of one sign in present classes, too"
        return np.zeros(len(kernel), int), 1, reason
    if public.positive and public.sparse:
        return absent_columns(kernel, entries.noise), 1, columns
    if not public.is_known:
        nothing = (
            "BatchNorm layers may have used other statistics, so public probabilities are not the client's"
        )
        return np.zeros(len(kernel), int), 1, nothing
    if not public.has_images:
        return _votes_on_noise(kernel, bias, public, entries)
    if public.positive and bias is not None and public.softmax.max() < 0.5 and not entries.adaptive:
        lowest = "classes with the lowest bias change per expected probability, minus those with the highest"
        return plateau(bias, expected), 4, lowest
    if public.positive and expected.max() < 0.3:
        # Here each column has one sign, that of p̄_c − n_c / N. Most columns are positive only if most
        # classes are absent.
        return (
            absent_columns(kernel, entries.noise),
            0.8 * classes,
            f"{columns} (counted if nearly all agree)",
        )
    reason = (
        "the last layer's input can be negative, or the model prefers one class, so its columns show no sign"
    )
    return np.zeros(len(kernel), int), 1, reason


def _votes_on_noise(
    kernel: np.ndarray, bias: np.ndarray | None, public: Public, entries: Entries
) -> tuple[np.ndarray, float, str]:
    """``_votes`` without public images, of features that may never be zero.

    There present classes have columns of one sign, too, and equal biases if they have as many images. So
    classes count only if more than the images would be present under the other sign.
    """
    nothing = np.zeros(len(kernel), int)
    if not (public.is_flat and public.positive):
        return nothing, 1, "there are no public images, so the model's probabilities are not known"
    if entries.samples is None:
        return nothing, 1, "there are no public images, and the number of images is not stated"
    if bias is not None and not entries.adaptive:
        absent, present = ends(bias, public.softmax[0])
        counted = "classes with the lowest bias change per probability of noise, minus those with the highest"
    else:
        absent, present = one_signed(kernel, BEYOND * entries.noise)
        counted = "columns of the last kernel without a positive entry, minus those without a negative one"
    votes, classes = absent - present, kernel.shape[-1]
    others = classes - np.where(votes > 0, present, absent)
    return np.where(others > entries.samples, votes, 0), LEAST_VOTES * classes, counted


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
        "set `sign` on the target to after_minus_before or before_minus_after, or on a simulated target "
        "`sign_in_metadata: true`"
    )
