"""The model's JSON → a Keras model with a linear output, and statistics of it on public images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gradleak.artifacts import architecture
from gradleak.artifacts.errors import ArtifactError
from gradleak.mapping import input_shapes
from gradleak.mapping.errors import MappingError
from gradleak.mapping.front_layer import with_front_layer
from gradleak.mapping.head import (
    SIGMOID,
    SIGMOIDS,
    SOFTMAX,
    Head,
    before_identities,
    find_head,
    layer_of,
    two_logits,
)

if TYPE_CHECKING:
    import keras

LINEAR = "linear"  # the activation of logits


@dataclass(frozen=True)
class Classifier:
    """model: with a linear output (logits). changes: what was changed for it. activation: of the last layer
    in the file, one of SOFTMAX, SIGMOID and LINEAR. is_unit: it has one output, whose logit z became the two
    logits (0, z).
    """

    model: keras.Model
    changes: str
    activation: str
    is_unit: bool = False


def logits_model(
    model_json: str, image: tuple[int, ...] | None = None, is_stated: bool = False
) -> tuple[keras.Model, str]:
    """The model with a linear output, and what was changed for it. See ``read_classifier``."""
    found = read_classifier(model_json, image, is_stated)
    return found.model, found.changes


def read_classifier(
    model_json: str, image: tuple[int, ...] | None = None, is_stated: bool = False
) -> Classifier:
    """The classifier that the JSON describes. Raises MappingError with the reason.

    image: (H, W, C) of the images. A model that takes the same grey values in another shape, such as (784,)
    or (28, 28), gets a Reshape in front. None: the shape that the model takes, see ``input_shapes.as_image``.
    is_stated: the user says that ``image`` is the order of the model's input, whatever its channels. A single
    linear output is read as the logit of a sigmoid.
    """
    model = _built(model_json)
    if len(model.output_shape) != 2:
        raise MappingError(
            f"needs images in and classes out (None, K); this model maps {model.input_shape} → "
            f"{model.output_shape}"
        )
    changes = ""
    taken = tuple(model.input_shape[1:])
    if image is None:
        image = input_shapes.as_image(taken, [type(layer).__name__ for layer in model.layers])
    elif taken != image and not is_stated and image[-1] != 1:
        raise MappingError(input_shapes.other_images(taken, image))
    if math.prod(taken) != math.prod(image):
        raise MappingError(input_shapes.other_images(taken, image, is_stated))
    if taken != image:
        reshape = {"target_shape": list(taken)}
        reshaped = with_front_layer(model_json, "Reshape", "reshaped_images", reshape, image)
        model, changes = _built(reshaped), f"images are reshaped to {taken}; "
    linear, activation, what = _linear(model)
    if linear.output_shape[-1] == 1 and activation != SOFTMAX:
        what += ", and its one logit z became the two logits (0, z)"
        return Classifier(two_logits(linear), f"{changes}{what}", activation, is_unit=True)
    return Classifier(linear, f"{changes}{what}", activation)


def _built(model_json: str) -> keras.Model:
    """The model of one input and one output that the JSON describes."""
    import keras

    try:
        model = keras.models.model_from_json(architecture.read(model_json).json)
    except ArtifactError as error:
        raise MappingError(str(error)) from None
    except Exception as error:  # Keras raises many kinds of errors
        first_line, _, _ = str(error).partition("\n")
        raise MappingError(
            f"the model JSON cannot be built by Keras {keras.__version__}: {first_line}"
        ) from error
    if (
        not isinstance(model, keras.Model)
        or not isinstance(model.input_shape, tuple)
        or not isinstance(model.output_shape, tuple)
    ):
        raise MappingError("the model JSON is not a model of one input and one output")
    return model


def _linear(model: keras.Model) -> tuple[keras.Model, str, str]:
    """``model`` up to its logits, its last activation, and what was changed for it."""
    import keras

    end = before_identities(model.outputs[0])
    last = layer_of(end)
    function = getattr(last, "activation", None)
    probabilities = {
        keras.activations.softmax: SOFTMAX,
        keras.activations.log_softmax: SOFTMAX,
        keras.activations.sigmoid: SIGMOID,
    }
    is_softmax = isinstance(last, keras.layers.Softmax)
    name = SOFTMAX if is_softmax else probabilities.get(function, LINEAR)
    if is_softmax or (isinstance(last, keras.layers.Activation) and name != LINEAR):
        logits = before_identities(last.input)
        cut = keras.Model(model.inputs[0], logits, name=model.name)
        return cut, name, f"a final {name} layer was removed"
    if name != LINEAR:
        copy = keras.models.clone_model(model, clone_function=_without_activation(last.name))
        return _cut(copy, last.name), name, f"the {name} of the last layer was made linear"
    if function not in (None, keras.activations.linear):
        raise MappingError(
            f"the last layer {last.name} ends in {getattr(function, '__name__', function)}; "
            "needs logits, a softmax or a sigmoid, since the gradient is of their cross-entropy"
        )
    _refuse_early_softmax(last)
    if end is model.outputs[0]:
        return model, LINEAR, "the last layer is already linear"
    return (
        keras.Model(model.inputs[0], end, name=model.name),
        LINEAR,
        "the last layer is already linear; what follows it changes nothing at inference",
    )


def _without_activation(name: str) -> Callable[[keras.Layer], keras.Layer]:
    """Copies a layer; the one that is called ``name`` with a linear output."""

    def copy(layer: keras.Layer) -> keras.Layer:
        changed = {"activation": "linear"} if layer.name == name else {}
        return type(layer).from_config(layer.get_config() | changed)

    return copy


def _cut(model: keras.Model, name: str) -> keras.Model:
    """``model`` with the output of the layer ``name``."""
    import keras

    end = model.get_layer(name).output
    return model if end is model.outputs[0] else keras.Model(model.inputs[0], end, name=model.name)


def _refuse_early_softmax(last: keras.Layer) -> None:
    """Raise MappingError if probabilities are changed before they leave the model."""
    import keras

    softmaxes = (keras.activations.softmax, keras.activations.log_softmax)
    left = [last]
    while left:
        layer = left.pop()
        is_softmax = (
            isinstance(layer, keras.layers.Softmax) or getattr(layer, "activation", None) in softmaxes
        )
        if is_softmax and layer is not last:
            raise MappingError(
                f"the last layer {last.name} ({type(last).__name__}) changes the probabilities of "
                f"{layer.name}; needs logits or a softmax at the end, since the gradient is of their "
                f"cross-entropy: save the model without {last.name}"
            )
        if not layer.weights and not isinstance(layer, keras.layers.InputLayer):
            left += [layer_of(tensor) for tensor in keras.tree.flatten(layer.input)]


@dataclass(frozen=True)
class Public:
    """Statistics of the model on public images, at the weights before the round.

    softmax: mean softmax by true class [C, C]; with one sigmoid a class the mean sigmoids of the images that
    have the label. head: the last dense layer, or None, and no_head the reason.
    features: mean input of the head by true class [C, d]; d is 0 without head.
    positive: no feature is below zero. sparse: features are often exactly zero, as after a ReLU. accuracy: on
    public images. chance: the accuracy of the most frequent class. is_known: the client evaluated this
    network; False if BatchNorm layers may have normalised by the batch, which makes it another one. doubt:
    why it may not be the client's model, of ``weights.doubt``, or ''. Without public images (``has_images``
    is False) everything is as ``without_public.look_at_noise`` gives it. is_flat: then, whether noise images
    of all kinds have much the same probabilities. is_trained: then, whether the weights are those of a
    trained model, None if they do not show it.
    """

    softmax: np.ndarray
    features: np.ndarray
    positive: bool
    sparse: bool
    accuracy: float
    chance: float
    head: Head | None
    no_head: str
    is_known: bool = True
    doubt: str = ""
    has_images: bool = True
    is_flat: bool = False
    is_trained: bool | None = None


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """The share of images that the model is right on; of multi-hot labels the share of all entries.

    x: float32 [P, H, W, C]; y: int [P], or multi-hot [P, K].
    """
    parts = [model(x[i : i + 256], training=False).numpy() for i in range(0, len(x), 256)]
    return _right(np.concatenate(parts), y)


def _right(logits: np.ndarray, y: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == y).mean() if y.ndim == 1 else ((logits > 0) == y).mean())


def look_at(model: keras.Model, x: np.ndarray, y: np.ndarray, sigmoids: bool = False) -> Public:
    """Run public images through the model. x: float32 [P, H, W, C]; y: int [P], or multi-hot [P, K].

    sigmoids: the K outputs are the logits of one sigmoid each, and not of a softmax.
    """
    import keras

    head, no_head = find_head(model)
    head = replace(head, output=SIGMOIDS) if head and sigmoids else head
    entered = model.outputs[0] if head is None else model.get_layer(head.layer_name).input
    tapped = keras.Model(model.inputs[0], [entered, model.outputs[0]])
    parts = [tapped(x[i : i + 256], training=False) for i in range(0, len(x), 256)]
    features, logits = (np.concatenate([part[j].numpy() for part in parts]) for j in (0, 1))
    features = features if head else features[:, :0]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)
    probabilities = 1 / (1 + np.exp(-logits)) if sigmoids else softmax
    of_class = y[:, None] == np.arange(logits.shape[1]) if y.ndim == 1 else y > 0
    share = of_class.mean(axis=0)

    def by_class(values: np.ndarray) -> np.ndarray:
        overall = values.mean(axis=0)
        return np.stack([values[own].mean(axis=0) if own.any() else overall for own in of_class.T])

    return Public(
        by_class(probabilities),
        by_class(features),
        head is not None and bool(np.min(features) >= 0),
        head is not None and bool((features == 0).mean() > 0.01),
        _right(logits, y),
        float(share.max() if y.ndim == 1 else np.maximum(share, 1 - share).mean()),
        head,
        no_head,
    )
