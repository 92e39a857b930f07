"""The last dense layer of a classifier, found by tracing the graph from the logits back.

Its gradient is the mean of h (p − e_y)ᵀ over the samples, where h is its input. Findings and label methods
that rest on this do not apply to a model that ends in anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

AT_TRAINING_ONLY = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")


@dataclass(frozen=True)
class Head:
    """The dense layer whose output is the logits.

    kernel_index, bias_index: places of its variables among the model's trainable ones; bias_index is None if
    it has no bias.
    """

    kernel_index: int
    bias_index: int | None
    layer_name: str


def head_of(deltas: list[np.ndarray], head: Head) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays of the last kernel and of its bias among ``deltas``, one for each trainable variable."""
    return deltas[head.kernel_index], None if head.bias_index is None else deltas[head.bias_index]


def find_head(model: keras.Model) -> tuple[Head | None, str]:
    """(the head, ''), or (None, the reason). model: with a linear output, of ``classifier.logits_model``."""
    import keras

    layer = layer_of(before_identities(model.outputs[0]))
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
    return Head(place[id(layer.kernel)], place[id(layer.bias)] if layer.use_bias else None, layer.name), ""


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
