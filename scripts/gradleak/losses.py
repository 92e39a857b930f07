"""The losses of a classifier whose gradients are computed: their names and options, and their gradient at the
logits.

Every loss is the mean over the images of a batch unless its reduction is another one.

* categorical_crossentropy: of the softmax of K logits. The labels are classes, as integers or one-hot,
  perhaps smoothed: (1 − ε) e_y + ε / K (Szegedy et al. 2016), or with a weight for each class.
* focal: the same times (1 − p_y)^γ (Lin et al. 2017).
* squared_error: the mean over the K logits of (z_k − y_k)². squared_error_of_softmax: of (p_k − y_k)².
* crossentropy_of_softmax: the cross-entropy of softmax(softmax(z)), as of a model that ends in a softmax
  and a loss that takes logits.
* binary_crossentropy: of K sigmoids, the mean over the K units, as Keras and PyTorch compute it. The labels
  are multi-hot: an image has any number of the K labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

CATEGORICAL, BINARY = "categorical_crossentropy", "binary_crossentropy"
FOCAL, SQUARED = "focal", "squared_error"
BRIER, TWICE = "squared_error_of_softmax", "crossentropy_of_softmax"
NAMES = (CATEGORICAL, FOCAL, SQUARED, BRIER, TWICE, BINARY)
# Their gradients at the logits sum to zero over the classes, as all of a softmax's do.
SUM_TO_ZERO = (CATEGORICAL, FOCAL, BRIER, TWICE)
# Their gradient is w (p − target) with w > 0, so that columns of absent classes have one sign.
TOWARDS_TARGET = (CATEGORICAL, FOCAL)
# Without case, separators and the endings "loss" and "withlogits".
SYNONYMS = {
    "categoricalcrossentropy": CATEGORICAL,
    "sparsecategoricalcrossentropy": CATEGORICAL,
    "crossentropy": CATEGORICAL,
    "softmaxcrossentropy": CATEGORICAL,
    "ce": CATEGORICAL,
    "nll": CATEGORICAL,
    "negativeloglikelihood": CATEGORICAL,
    "nllofsoftmax": CATEGORICAL,
    "nlloflogsoftmax": CATEGORICAL,
    "labelsmoothingcrossentropy": CATEGORICAL,
    "binarycrossentropy": BINARY,
    "bce": BINARY,
    "sigmoidcrossentropy": BINARY,
    "multilabelsoftmargin": BINARY,
    "focal": FOCAL,
    "categoricalfocalcrossentropy": FOCAL,
    "mse": SQUARED,
    "meansquarederror": SQUARED,
    "squarederror": SQUARED,
    "l2": SQUARED,
    "mseoflogits": SQUARED,
    "squarederroroflogits": SQUARED,
    "brier": BRIER,
    "mseofsoftmax": BRIER,
    "squarederrorofsoftmax": BRIER,
    "mseofprobabilities": BRIER,
    "squarederrorofprobabilities": BRIER,
    "crossentropyofsoftmax": TWICE,
    "softmaxinsidecrossentropy": TWICE,
    "doublesoftmax": TWICE,
}
# Option, without case and separators → field of Loss.
OPTIONS = {
    "labelsmoothing": "smoothing",
    "smoothing": "smoothing",
    "gamma": "gamma",
    "weight": "weights",
    "weights": "weights",
    "classweight": "weights",
    "classweights": "weights",
    "reduction": "reduction",
    "factor": "factor",
    "alpha": "factor",
}
# mean: PyTorch divides by the sum of the images' weights; of_images: Keras by their number.
MEAN, SUM, OF_IMAGES = "mean", "sum", "sum_over_batch_size"
REDUCTIONS = (MEAN, SUM, OF_IMAGES)
IGNORED = ("fromlogits", "name", "dtype", "axis", "ignoreindex", "sizeaverage", "reduce")
MOST_SMOOTHING, MOST_GAMMA, MOST_CLASSES = 0.9, 10.0, 10_000


@dataclass(frozen=True)
class Loss:
    """name: one of NAMES. smoothing: ε of the labels. gamma: of the focal loss. weights: of the classes [K],
    or none. reduction: one of REDUCTIONS. factor: on the whole loss.
    """

    name: str = CATEGORICAL
    smoothing: float = 0.0
    gamma: float = 2.0
    weights: tuple[float, ...] = ()
    reduction: str = MEAN
    factor: float = 1.0

    @property
    def text(self) -> str:
        """The form in files, ``focal(gamma=2)``, which ``parse`` reads. Without options of no effect."""
        options = {}
        if self.name == FOCAL:
            options["gamma"] = f"{self.gamma:g}"
        if self.smoothing:
            options["label_smoothing"] = f"{self.smoothing:g}"
        if self.weights:
            options["class_weights"] = f"[{', '.join(f'{one:.9g}' for one in self.weights)}]"
        if self.reduction != MEAN and (self.weights or self.reduction != OF_IMAGES):
            options["reduction"] = self.reduction
        if self.factor != 1:
            options["factor"] = f"{self.factor:g}"
        listed = ", ".join(f"{key}={value}" for key, value in options.items())
        return f"{self.name}({listed})" if listed else self.name

    @property
    def of_one_image(self) -> Loss:
        """The same without factor and reduction, which only scale all images alike."""
        keep = OF_IMAGES if self.weights and self.reduction != MEAN else MEAN
        return replace(self, reduction=keep, factor=1.0)

    @property
    def is_plain(self) -> bool:
        """Whether the gradient at the logits is p − e_y up to a factor that all images share."""
        return self.name == CATEGORICAL and not self.smoothing and not self.weights

    def scale(self, images: int, classes: int) -> float:
        """The loss per mean over ``images`` of a batch: 1, times its factor and what a sum adds."""
        if self.reduction != SUM:
            return self.factor
        # The means of these are also over the K outputs.
        return self.factor * images * (classes if self.name in (SQUARED, BRIER, BINARY) else 1)


PLAIN = Loss()


def canonical(name: str) -> str:
    """The loss that ``name`` means in the form of ``Loss.text``, or ``name`` itself where it cannot be read.

    ``nn.BCEWithLogitsLoss()`` is binary_crossentropy, ``CrossEntropyLoss(label_smoothing=0.1)``
    categorical_crossentropy(label_smoothing=0.1).
    """
    found = parse(name)
    return name if found is None else found.text


@lru_cache(maxsize=256)
def parse(text: str) -> Loss | None:
    """The loss of a class's or function's name, perhaps with options in parentheses; None if unreadable."""
    head, _, rest = text.partition("(")
    name = SYNONYMS.get(_bare(head))
    if name is None:
        return None
    try:
        found = _with_options(Loss(name), rest.strip().removesuffix(")"))
    except ValueError:
        return None
    return found if _is_possible(found) else None


def loss_named(text: str) -> Loss:
    """The loss of a text that a mapping wrote. Raises ValueError."""
    found = parse(text)
    if found is None:
        raise ValueError(f"no such loss: {text}")
    return found


def _bare(text: str) -> str:
    last = "".join(one for one in text.strip().rpartition(".")[2].lower() if one.isalnum())
    return last.removesuffix("loss").removesuffix("withlogits")


def _with_options(loss: Loss, text: str) -> Loss:
    """Raises ValueError for an option that is not known."""
    for part in re.findall(r"(?:[^,\[\](){}]|\[[^\]]*\]|\([^)]*\)|\{[^}]*\})+", text):
        key, equals, value = part.partition("=")
        if not part.strip():
            continue
        field = OPTIONS.get(_bare(key)) if equals else None
        if equals and ((field is None and _bare(key) in IGNORED) or value.strip().lower() == "none"):
            continue
        if field is None:
            raise ValueError(part)
        loss = replace(loss, **{field: _value(field, value)})
    return loss


def _value(field: str, text: str) -> Any:
    text = text.strip().strip("'\"")
    if field == "reduction":
        return text.lower()
    if field == "weights":
        return class_weights(re.findall(r"[^,\[\](){}\s]+", re.sub(r"^\w*\.?tensor", "", text)))
    return float(text)


def class_weights(value: Any) -> tuple[float, ...]:
    """The weights of classes 0 … K − 1 of a list, or of a dict from class to weight. Raises ValueError."""
    if isinstance(value, dict):
        numbers = {int(key): float(one) for key, one in value.items()}
        value = [numbers.get(one, 1.0) for one in range(max(numbers, default=-1) + 1)]
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        raise ValueError(value)
    found = tuple(float(f"{float(one):.9g}") for one in value)
    return () if len(set(found)) == 1 else found


def _is_possible(loss: Loss) -> bool:
    return (
        0 <= loss.smoothing <= MOST_SMOOTHING
        and 0 < loss.gamma <= MOST_GAMMA
        and loss.reduction in REDUCTIONS
        and 0 < loss.factor < 1e9
        and len(loss.weights) <= MOST_CLASSES
        and all(0 <= one < 1e9 for one in loss.weights)
        and (not loss.weights or (any(loss.weights) and loss.name == CATEGORICAL and not loss.smoothing))
        and (not loss.smoothing or loss.name == CATEGORICAL)
    )


class Ops(NamedTuple):
    """Functions of arrays [..., K], of NumPy or of TensorFlow. total: the sum over K, which stays as an axis
    of one."""

    softmax: Callable
    log_softmax: Callable
    sigmoid: Callable
    total: Callable


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


NUMPY = Ops(
    softmax=_softmax,
    log_softmax=_log_softmax,
    sigmoid=lambda logits: 1 / (1 + np.exp(-logits)),
    total=lambda array: array.sum(axis=-1, keepdims=True),
)


def signal(loss: Loss, logits: Any, labels: Any, ops: Ops = NUMPY) -> Any:
    """The gradient of one image's loss at its logits, [..., K], without reduction and factor.

    labels: [..., K], rows that sum to one, or of binary_crossentropy entries in [0, 1]. Image n's part of a
    batch's gradient is this divided by N, or with class weights and the reduction ``mean`` by the sum of the
    batch's weights, see ``image_weights``.
    """
    classes = logits.shape[-1]
    if loss.name == BINARY:
        return (ops.sigmoid(logits) - labels) / classes
    if loss.name == SQUARED:
        return 2 / classes * (logits - labels)
    softmax = ops.softmax(logits)
    if loss.name == FOCAL:
        logs = ops.log_softmax(logits)
        rest = 1 - softmax + 1e-7  # so that a power below 0 is finite
        slope = loss.gamma * rest ** (loss.gamma - 1) * softmax * logs - rest**loss.gamma
        return labels * slope - softmax * ops.total(labels * slope)
    if loss.name in (BRIER, TWICE):
        outer = 2 / classes * (softmax - labels) if loss.name == BRIER else ops.softmax(softmax) - labels
        return softmax * (outer - ops.total(softmax * outer))
    targets = labels * (1 - loss.smoothing) + loss.smoothing / classes if loss.smoothing else labels
    found = softmax - targets
    return found * image_weights(loss, labels, ops) if loss.weights else found


def image_weights(loss: Loss, labels: Any, ops: Ops = NUMPY) -> Any:
    """The weight of each image [..., 1] by the class weights that it has, labels [..., K]."""
    return ops.total(labels * np.asarray(loss.weights, np.float32))
