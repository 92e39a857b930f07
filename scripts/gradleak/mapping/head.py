"""The last dense layer of a classifier, found by tracing the graph from the logits back.

Its gradient is the mean of h (p − e_y)ᵀ over the samples, where h is its input. Findings and label methods
that rest on this do not apply to a model that ends in anything else.

One sigmoid unit with the logit z is a softmax of the two logits (0, z): both have the same probabilities, and
the same cross-entropy. So such a model gets two logits, and its last layer is read as that of two classes. K
sigmoids, one a class, are no softmax; their gradient is the mean of h (σ − y)ᵀ / K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

SOFTMAX, SIGMOID, SIGMOIDS = "softmax", "sigmoid", "sigmoids"  # what is made of the last layer's output
AT_TRAINING_ONLY = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")


@dataclass(frozen=True)
class Head:
    """The dense layer whose output is the logits.

    kernel_index, bias_index: places of its variables among the model's trainable ones; bias_index is None if
    it has no bias. output: SOFTMAX; SIGMOID, one unit, which ``two_logits`` follows; SIGMOIDS, one a class.
    """

    kernel_index: int
    bias_index: int | None
    layer_name: str
    output: str = SOFTMAX

    @property
    def has_sums(self) -> bool:
        """Whether the sums of its gradient over the classes are zero, and say something about the update."""
        return self.output == SOFTMAX


def head_of(deltas: list[np.ndarray], head: Head) -> tuple[np.ndarray, np.ndarray | None]:
    """The last kernel [..., d, C] and its bias [..., C] (or None) among ``deltas``, gradients or changes of
    weights, one for each trainable variable.

    The gradient g of one sigmoid unit becomes (−g, g), which the softmax of (0, z) has for two classes. So
    sums over its classes are zero by construction, and show nothing. For weights see ``head_weights``.
    """
    return _of_head(deltas, head, lambda g: np.concatenate([-g, g], axis=-1))


def head_weights(weights: list[np.ndarray], head: Head) -> tuple[np.ndarray, np.ndarray | None]:
    """The last kernel [d, C] and its bias [C] (or None) among the trainable variables' ``weights``.

    The weights w of one sigmoid unit become (0, w), which give the two logits (0, z).
    """
    return _of_head(weights, head, lambda w: np.concatenate([np.zeros_like(w), w], axis=-1))


def _of_head(
    arrays: list[np.ndarray], head: Head, expand: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    kernel, bias = arrays[head.kernel_index], None if head.bias_index is None else arrays[head.bias_index]
    if head.output != SIGMOID:
        return kernel, bias
    return expand(kernel), None if bias is None else expand(bias)


def two_logits(model: keras.Model) -> keras.Model:
    """``model`` of one output z (None, 1) with the output (0, z) (None, 2). The added layers
    have no weights.
    """
    from keras import Model, layers

    used = {layer.name for layer in model.layers}

    def free(name: str) -> str:
        while name in used:
            name += "_"
        return name

    logits = layers.Reshape((1, 1), name=free("logit"))(model.outputs[0])
    logits = layers.ZeroPadding1D((1, 0), name=free("zero_and_logit"))(logits)
    logits = layers.Flatten(name=free("two_logits"))(logits)
    return Model(model.inputs[0], logits, name=model.name)


def _unit(tensor: keras.KerasTensor) -> keras.KerasTensor | None:
    """z if ``tensor`` is the (0, z) of ``two_logits``, else None."""
    padded = layer_of(tensor)
    for kind in ("Flatten", "ZeroPadding1D", "Reshape"):
        if type(padded).__name__ != kind or (kind == "ZeroPadding1D" and tuple(padded.padding) != (1, 0)):
            return None
        tensor = padded.input
        padded = layer_of(tensor)
    return tensor if tuple(tensor.shape) == (None, 1) else None


def find_head(model: keras.Model) -> tuple[Head | None, str]:
    """(the head, ''), or (None, the reason). model: with a linear output, of ``classifier.logits_model``.

    Its output is SOFTMAX or SIGMOID; whether K outputs are SIGMOIDS, the graph does not show.
    """
    import keras

    end = before_identities(model.outputs[0])
    unit = _unit(end)
    layer = layer_of(end if unit is None else before_identities(unit))
    if not isinstance(layer, keras.layers.Dense):
        return (
            None,
            f"the logits are the output of {layer.name} ({type(layer).__name__}), not of a dense layer",
        )
    if layer.activation is not keras.activations.linear:
        return None, f"the last dense layer {layer.name} ends in {layer.activation.__name__}"
    if len(layer.input.shape) != 2:
        return None, f"the last dense layer {layer.name} reads {layer.input.shape[1:]}, not a vector"
    place = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    if id(layer.kernel) not in place:
        return None, f"the last dense layer {layer.name} is not trained, so the update does not have it"
    bias = place[id(layer.bias)] if layer.use_bias else None
    return Head(place[id(layer.kernel)], bias, layer.name, SOFTMAX if unit is None else SIGMOID), ""


def layer_of(tensor: keras.KerasTensor) -> keras.Layer:
    """The layer that computes ``tensor``."""
    return tensor._keras_history.operation


def before_identities(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """The earliest tensor of the graph with the values that ``tensor`` has at inference."""
    while _is_identity(layer_of(tensor)):
        tensor = layer_of(tensor).input
    return tensor


def _is_identity(layer: keras.Layer) -> bool:
    kind = type(layer).__name__
    if kind in ("Flatten", "Reshape"):
        return bool(layer.input.shape == layer.output.shape)
    if kind == "Activation":
        return layer.activation.__name__ == "linear"
    if kind == "Rescaling":
        return bool(np.all(np.equal(layer.scale, 1)) and np.all(np.equal(layer.offset, 0)))
    return kind in AT_TRAINING_ONLY
