"""BatchNormalization: whether the client normalised by the statistics of its batch (training mode).

In training mode a layer normalises its inputs u by the mean and the variance of the batch, and moves its
moving statistics towards them. Each image's output then depends on all images of the batch. A change of the
moving statistics shows the mode, and so do the gradients of a layer behind a linear one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.alignment import Aligned
from gradleak.mapping.claims import AUTO
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.metadata_values import MODES

if TYPE_CHECKING:
    import keras

TRAINING, INFERENCE, NONE = "training", "inference", "none"
ROUNDED = 8 * FLOAT32_ROUNDING  # an average of equal float32 numbers may differ from them by so much
BEYOND = 5.0  # standard deviations of white noise
# The two hypotheses on a layer's gradients differ by orders of magnitude: under the right one what is left
# is ε / (variance + ε) or rounding, under the wrong one it is as large as the gradient. A factor between
# them decides, with a margin for several local steps.
APART = 5.0
CLOSE = 0.25  # largest relative change of the moving variances by which their values are recognised
FEW_CHANNELS = 4  # with fewer, all may be alike by chance


@dataclass(frozen=True)
class LayerMode:
    """The mode of one layer. moved: whether its statistics moved, None if the update does not hold them.

    by_gradient: training or inference by its gradients, None if they do not show it. is_free: it is not
    frozen, so that it follows the mode of the model.
    """

    name: str
    moved: bool | None
    by_gradient: str | None
    is_free: bool

    @property
    def mode(self) -> str:
        """Training, inference or unknown."""
        if self.moved:
            return UNKNOWN if self.by_gradient == INFERENCE else TRAINING
        if self.by_gradient:
            return self.by_gradient
        return UNKNOWN if self.moved is None and self.is_free else INFERENCE


def norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNormalization layers of ``model``, in its order."""
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def layer_modes(
    model: keras.Model, aligned: Aligned, optimizer: str, noise: float, factor: float, is_sparse: bool
) -> list[LayerMode]:
    """The mode of each layer by the update.

    optimizer: its family. noise: standard deviation of white noise found on the update. factor: the delta was
    multiplied by it after the subtraction. is_sparse: entries were dropped from it. A frozen layer of Keras
    computes as at inference; PyTorch's does not.
    """
    is_zero = not any(np.any(delta) for delta in aligned.deltas)
    found = []
    for layer in norm_layers(model):
        moved = _has_moved(layer, aligned, noise, factor)
        if moved is False and (is_zero or is_sparse or layer.momentum >= 1):
            moved = None  # such statistics are zero in every mode
        is_linear = optimizer == "sgd" and not noise  # in the gradients
        relation = gradient_relation(model, layer, aligned, factor) if is_linear else None
        is_free = bool(layer.trainable) or aligned.layout == "torch"
        found.append(LayerMode(layer.name, moved, relation.mode if relation else None, is_free))
    return found


def _has_moved(layer: keras.layers.Layer, aligned: Aligned, noise: float, factor: float) -> bool | None:
    """Whether a moving statistic changed by more than rounding and noise. None if they are not known."""
    pairs = [(v.numpy(), aligned.untrained.get(v.path)) for v in (layer.moving_mean, layer.moving_variance)]
    known = [(before, delta) for before, delta in pairs if delta is not None]
    if not known:
        return None
    taken_off, rounded = float(holds_values(layer, aligned)), ROUNDED * max(factor, 1.0)
    return any(
        bool((np.abs(delta - taken_off * v) > np.maximum(rounded * np.abs(v), BEYOND * noise)).any())
        for v, delta in known
    )


def holds_values(layer: keras.layers.Layer, aligned: Aligned) -> bool:
    """Whether the update holds the moving variances themselves in the place of their change.

    They are then all close to those before. A change that is as large takes a batch whose variances are
    many times the moving ones, by one factor in all channels.
    """
    before, delta = layer.moving_variance.numpy(), aligned.untrained.get(layer.moving_variance.path)
    if delta is None or len(before) < FEW_CHANNELS:
        return False
    return bool((np.abs(delta - before) <= CLOSE * before).all())


@dataclass(frozen=True)
class Relation:
    """What ties the gradients of a linear layer to those of the BatchNormalization behind it, per channel.

    Let u = W f + b be the layer's input. Then Σ u ∂L/∂u = ⟨W, ∂L/∂W⟩ + b ∂L/∂b. At inference it equals γ
    ∂L/∂γ + γ μ ∂L/∂β / √(v + ε). In training mode the output hardly depends on the size of u, and it equals γ
    ∂L/∂γ ε / (v + ε), with v the variance of the batch (scale invariance: Arora, Li and Lyu 2019,
    doi:10.48550/arXiv.1812.03981; the term in ε is ours). Both hold for a delta of one step of SGD, whatever
    its sign and scale.

    total: Σ u ∂L/∂u. of_scale: γ ∂L/∂γ. fixed: the value at inference; float64 [D, C] each. noise: standard
    deviation of the rounding error of ``total``, [C].
    """

    total: np.ndarray
    of_scale: np.ndarray
    fixed: np.ndarray
    noise: np.ndarray

    @property
    def mode(self) -> str | None:
        """Training or inference, or None if rounding or neither explains the gradients."""
        training, inference = np.linalg.norm(self.total), np.linalg.norm(self.total - self.fixed)
        floor = BEYOND * np.linalg.norm(self.noise) * np.sqrt(len(self.total))
        if max(training, inference) <= APART * floor or np.linalg.norm(self.fixed) <= APART * floor:
            return None
        if APART * training < inference:
            return TRAINING
        return INFERENCE if APART * inference < training else None

    def misfit(self, variance: np.ndarray, epsilon: float) -> float | None:
        """Relative error of ``total`` with a batch of this ``variance`` [C]; None if rounding hides it."""
        expected = self.of_scale * epsilon / (variance + epsilon)
        floor = np.linalg.norm(self.noise) * np.sqrt(len(self.total))
        if np.linalg.norm(self.total) <= BEYOND * floor:
            return None
        return float(np.linalg.norm(self.total - expected) / np.linalg.norm(self.total))


def gradient_relation(
    model: keras.Model, layer: keras.layers.Layer, aligned: Aligned, factor: float
) -> Relation | None:
    """The relation of ``layer`` to the linear layer before it, or None if there is none, or γ is fixed.

    factor: as of ``layer_modes``.
    """
    linear = _linear_before(model, layer)
    place = {id(v): i for i, v in enumerate(model.trainable_variables)}
    is_last = layer.axis in (-1, len(layer.input.shape) - 1)  # the axis of the channels
    if linear is None or not (is_last and layer.scale):
        return None
    if id(layer.gamma) not in place or id(linear.kernel) not in place:
        return None

    def of(variable: keras.Variable) -> tuple[np.ndarray, np.ndarray]:
        """(before [.., C], delta [D, .., C]) of a variable that may be frozen."""
        before = variable.numpy().astype(np.float64)
        delta = aligned.deltas[place[id(variable)]] if id(variable) in place else np.zeros((1, *before.shape))
        return before, delta.astype(np.float64)

    kernel, change = of(linear.kernel)
    axes = tuple(range(1, change.ndim - 1))
    total = (kernel * change).sum(axis=axes)
    fourth = (kernel**4).sum(axis=tuple(range(kernel.ndim - 1)))
    if linear.use_bias:
        bias, change = of(linear.bias)
        total = total + bias * change
        fourth = fourth + bias**4
    gamma, change = of(layer.gamma)
    of_scale = gamma * change
    fixed = of_scale
    if layer.center:
        deviation = np.sqrt(layer.moving_variance.numpy().astype(np.float64) + layer.epsilon)
        fixed = fixed + gamma * layer.moving_mean.numpy() / deviation * of(layer.beta)[1]
    return Relation(total, of_scale, fixed, factor * FLOAT32_ROUNDING * np.sqrt(fourth))


def _linear_before(model: keras.Model, layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """The dense or convolutional layer whose output, with no activation, only ``layer`` receives."""
    import keras

    parents: dict[str, list[Any]] = {}
    left = [model.outputs[0]]
    while left:
        history = left.pop()._keras_history
        if history.operation.name not in parents:
            tensors = history.operation._inbound_nodes[history.node_index].input_tensors
            parents[history.operation.name] = [tensor._keras_history.operation for tensor in tensors]
            left += tensors
    for source in parents.get(layer.name, []):
        is_linear = isinstance(source, keras.layers.Dense | keras.layers.Conv2D)
        is_alone = sum(source in inputs for inputs in parents.values()) == 1
        if is_linear and is_alone and source.activation is keras.activations.linear:
            return source
    return None


def find_batch_norm(modes: list[LayerMode], claimed: str, meta: dict) -> Finding:
    """The mode of the client: training, inference, unknown, or none without such a layer.

    claimed: by the user, or auto. meta: of ``Metadata.values``; its ``batch_norm`` counts where the update
    shows nothing. All layers that are not frozen share one mode, so one layer shows it for all.
    """
    if not modes:
        return Finding(NONE, 1.0, "the model has no BatchNormalization layer")
    found, confidence, evidence = _by_update(modes)
    estimate = found if found != UNKNOWN else None
    stated = meta.get("batch_norm")
    contradicts = []
    if stated and estimate and stated != estimate:
        contradicts.append(Contradiction("metadata", stated, "update", estimate))
    if claimed != AUTO:
        if estimate and claimed != estimate:
            contradicts.append(Contradiction("settings", claimed, "update", estimate))
        return Finding(claimed, 1.0, f"target settings; {evidence}", tuple(contradicts), estimate)
    if stated and not estimate:
        return Finding(stated, 0.5, f"metadata; {evidence}")
    return Finding(found, confidence, evidence, tuple(contradicts), estimate)


def _by_update(modes: list[LayerMode]) -> tuple[str, float, str]:
    """(mode, confidence, evidence) by the update alone."""
    counts = {mode: sum(one.mode == mode for one in modes) for mode in (*MODES, UNKNOWN)}
    moved = sum(one.moved is True for one in modes)
    shown = sum(one.by_gradient is not None for one in modes)
    evidence = (
        f"of {len(modes)} BatchNorm layers the moving statistics of {moved} changed, "
        f"and the gradients of {shown} show the mode"
    )
    if any(one.moved and one.by_gradient == INFERENCE for one in modes):
        return UNKNOWN, 0.0, f"{evidence}; the two contradict each other"
    if counts[TRAINING]:
        return TRAINING, 0.99 if moved else 0.9, f"{evidence}: training mode"
    if counts[UNKNOWN] == len(modes):
        why = "the update holds no moving statistics, or none that must change"
        return UNKNOWN, 0.0, f"{evidence}; {why}: set `batch_norm` on the target if you know it"
    # Zeros alone may also stand for statistics that the client kept to itself (FedBN).
    confidence = 0.75 if not shown else 0.95 if not counts[UNKNOWN] else 0.9
    return INFERENCE, confidence, f"{evidence}; {counts[INFERENCE]} layers computed as at inference"


def coupled_layers(modes: list[LayerMode], mode: str) -> list[str]:
    """Names of the layers that normalised by the batch, for a client in ``mode``."""
    if mode != TRAINING:
        return []
    shown = [one.name for one in modes if one.mode == TRAINING]
    free = [one.name for one in modes if one.mode == UNKNOWN and one.is_free]
    return [one.name for one in modes if one.name in (*shown, *free)] or [
        one.name for one in modes if one.is_free
    ]
