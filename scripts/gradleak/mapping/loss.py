"""The loss of the client: the cross-entropy of a softmax, or that of one sigmoid a class.

The last activation in the file shows it. Of linear outputs the update does:

* the gradient p − e_y of a softmax sums to zero over the classes, that of sigmoids does not;
* one image has the gradient h rᵀ, so that h is known, and with it all probabilities σ. Then |r_c| divided by
  |σ_c − y_c| is the same number for all classes, with y_c by the sign of r_c.

Other losses have sums that are not zero either. So without one of the two nothing is concluded. Which of the
losses it is whose sums are zero, the update does not show: a statement decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradleak.losses import BINARY, BRIER, CATEGORICAL, SQUARED, SUM_TO_ZERO, Loss, parse
from gradleak.mapping.alignment import Aligned
from gradleak.mapping.claims import AUTO
from gradleak.mapping.classifier import LINEAR, Classifier
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.head import SIGMOID, SOFTMAX, Head, find_head, head_of, head_weights
from gradleak.mapping.optimizer import sums_vanish
from gradleak.mapping.smoothing import single_feature

# One image: the largest spread of |r_c| / |σ_c − y_c| over the classes that counts as none, relative, and by
# which factor it must be larger under the other sign. Rounding alone gives 1e-5.
EXACT, BETTER = 2e-3, 5.0
STATED = 0.8  # most confidence in a statement that the update does not contradict


@dataclass(frozen=True)
class OneImage:
    """direction: 1 for after − before, −1 for the opposite. size: delta per unit of σ − y at the logits."""

    direction: int
    size: float


def one_image(
    kernel: np.ndarray, bias: np.ndarray, weight: np.ndarray, offset: np.ndarray
) -> OneImage | None:
    """What the delta of K ≥ 2 sigmoids shows if it is exactly that of one image, or of equal features.

    kernel [d, K], bias [K]: deltas of the last layer. weight, offset: its weights. None if it is no such
    delta, or if either sign fits, as where all probabilities are ½.
    """
    feature = single_feature(kernel, bias)
    if feature is None:
        return None
    probability = 1 / (1 + np.exp(-(feature @ weight + offset)))
    sizes = {}
    for direction in (1, -1):
        residual = -direction * bias.astype(np.float64)
        sizes[direction] = np.abs(residual) / np.where(residual > 0, probability, 1 - probability)
    misfits = {direction: float(one.std() / one.mean()) for direction, one in sizes.items()}
    best = min(misfits, key=lambda direction: misfits[direction])
    if misfits[best] > EXACT or misfits[-best] < max(EXACT, BETTER * misfits[best]):
        return None
    return OneImage(best, float(sizes[best].mean()))


def single_images(deltas: list[np.ndarray], before: list[np.ndarray], head: Head) -> list[OneImage | None]:
    """``one_image`` of each draw. deltas: [D, …] each. before: the weights that were subtracted."""
    (kernel, bias), (weight, offset) = head_of(deltas, head), head_weights(before, head)
    if bias is None or offset is None:
        return [None] * len(kernel)
    return [one_image(k, b, weight, offset) for k, b in zip(kernel, bias, strict=True)]


@dataclass(frozen=True)
class Statements:
    """What is said about the loss. claimed: by the user, a text of ``Loss``, or auto. stated: by the
    metadata, such a text, any other name, or None.
    """

    claimed: str = AUTO
    stated: str | None = None


def find_loss(classifier: Classifier, aligned: Aligned, factor: float, said: Statements) -> Finding:
    """value: text of a ``Loss``. Without any evidence it is that of a softmax, with a low confidence.

    factor: by which the delta was multiplied after the weights were subtracted. Raises MappingError for a
    claim that the model's last activation refutes, and for class weights of other classes.
    """
    found, confidence, evidence = _by_model(classifier)
    head, _ = find_head(classifier.model)
    if found is None and head is not None:
        found, confidence, evidence = _by_update(aligned.deltas, aligned.before, head, factor)
    elif found is None:
        evidence = "without a last dense layer the update does not show it"
    contradicts = []
    stated, claimed = (_at_outputs(text, classifier) for text in (said.stated, said.claimed))
    if stated and not _fits(stated, found):
        contradicts.append(Contradiction("metadata", stated.text, "update", found))
    elif said.stated and not stated:
        evidence, confidence = f"{evidence}; the metadata say {said.stated[:40]}", min(confidence, 0.5)
    if claimed:
        if not _fits(claimed, found or claimed.name) and (
            classifier.is_unit or classifier.activation != LINEAR
        ):
            raise MappingError(f"`loss` is {claimed.text}, but {evidence}; leave `loss` out")
        if not _fits(claimed, found):
            contradicts.append(Contradiction("settings", claimed.text, "update", found))
        return Finding(claimed.text, 1.0, f"target settings; {evidence}", tuple(contradicts), found)
    if stated and not contradicts:
        sure = confidence if stated.text == found else min(confidence, STATED) if found else 0.5
        return Finding(stated.text, sure, evidence if stated.text == found else f"metadata; {evidence}")
    if found:
        return Finding(found, confidence, evidence, tuple(contradicts), found)
    return Finding(CATEGORICAL, 0.3, f"assumed; {evidence}")


def _at_outputs(text: str | None, classifier: Classifier) -> Loss | None:
    """The loss that ``text`` names, of the logits: a squared error of a softmax's outputs is one of
    probabilities. None if it names none. Raises MappingError.
    """
    loss = parse(text) if text and text != AUTO else None
    if loss and loss.name == SQUARED and classifier.activation == SOFTMAX:
        loss = replace(loss, name=BRIER)
    classes = classifier.model.output_shape[-1]
    if loss and loss.weights and len(loss.weights) != classes:
        raise MappingError(
            f"the loss has weights of {len(loss.weights)} classes, and the model {classes} outputs: state "
            "`class_weights` with a number for each"
        )
    return loss


def _fits(loss: Loss, found: str | None) -> bool:
    """found: CATEGORICAL for all losses of a softmax, BINARY, or None."""
    return found is None or (loss.name in SUM_TO_ZERO if found == CATEGORICAL else loss.name == found)


def _by_model(classifier: Classifier) -> tuple[str | None, float, str]:
    """(the loss or None, confidence, evidence) by the model's last layer."""
    if classifier.activation == SOFTMAX:
        return CATEGORICAL, 0.95, "the model ends in a softmax"
    if classifier.activation == SIGMOID:
        units = "one sigmoid unit" if classifier.is_unit else "one sigmoid a class"
        return BINARY, 0.95, f"the model ends in {units}"
    if classifier.is_unit:
        why = "the model has one linear output, which is read as a sigmoid's logit; a regression looks alike"
        return BINARY, 0.5, why
    return None, 0.0, ""


def _by_update(
    deltas: list[np.ndarray], before: list[np.ndarray], head: Head, factor: float
) -> tuple[str | None, float, str]:
    """The same of several linear outputs, by the last layer's delta."""
    kernel, place = deltas[head.kernel_index], head.kernel_index
    if all(sums_vanish(one, before[place], factor) for one in kernel):
        return CATEGORICAL, 0.95, "the last layer's sums over the classes are zero, as of a softmax"
    evidence = "the last layer's sums over the classes are not zero"
    if any(single_images(deltas, before, head)):
        return BINARY, 0.95, f"{evidence}, and the residual of a single image is that of one sigmoid a class"
    return None, 0.0, f"{evidence}: an adaptive optimizer, noise, decay or another loss; `loss` can state it"
