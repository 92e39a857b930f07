"""The model's JSON → a Keras model with a linear output, and statistics of it on public images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.artifacts import architecture
from gradleak.artifacts.errors import ArtifactError
from gradleak.mapping import input_shapes
from gradleak.mapping.errors import MappingError
from gradleak.mapping.head import Head, before_identities, find_head, layer_of

if TYPE_CHECKING:
    import keras


def logits_model(
    model_json: str, image: tuple[int, ...] | None = None, is_stated: bool = False
) -> tuple[keras.Model, str]:
    """The model with a linear output, and what was changed for it. Raises MappingError with the reason.

    image: (H, W, C) of the images. A model that takes the same grey values in another shape, such as (784,)
    or (28, 28), gets a Reshape in front. None: the shape that the model takes, see ``input_shapes.as_image``.
    is_stated: the user says that ``image`` is the order of the model's input, whatever its channels.
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
        model, changes = _built(_reshaped(model_json, image)), f"images are reshaped to {taken}; "
    linear, what = _linear(model)
    return linear, f"{changes}{what}"


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


def _reshaped(model_json: str, image: tuple[int, ...]) -> str:
    """The JSON of the same model with a Reshape in front, so that it takes images of shape ``image``."""
    model = json.loads(architecture.read(model_json).json)
    first, *others = model["config"]["layers"]
    source, shape = first["config"]["name"], first["config"]["batch_shape"][1:]
    name = "reshaped_images"
    while name in {layer["config"]["name"] for layer in others}:
        name += "_"
    first["config"]["batch_shape"] = [None, *image]
    reshape: dict[str, Any] = {
        "module": "keras.layers",
        "class_name": "Reshape",
        "registered_name": None,
        "config": {"name": name, "target_shape": shape},
    }
    if "inbound_nodes" in first:
        reshape |= {"name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}
        for layer in others:
            for node in layer["inbound_nodes"]:
                for entry in node:
                    entry[0] = name if entry[0] == source else entry[0]
    model["config"]["layers"] = [first, reshape, *others]
    return json.dumps(model)


def _linear(model: keras.Model) -> tuple[keras.Model, str]:
    """``model`` up to its logits, and what was changed for it."""
    import keras

    end = before_identities(model.outputs[0])
    last = layer_of(end)
    function = getattr(last, "activation", None)
    softmaxes = (keras.activations.softmax, keras.activations.log_softmax)
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and function in softmaxes
    ):
        logits = before_identities(last.input)
        return keras.Model(model.inputs[0], logits, name=model.name), "a final softmax layer was removed"
    if function in softmaxes:
        return _cut(
            keras.models.clone_model(model, clone_function=_without_activation(last.name)), last.name
        ), ("the softmax of the last layer was made linear")
    if function not in (None, keras.activations.linear):
        raise MappingError(
            f"the last layer {last.name} ends in {getattr(function, '__name__', function)}; "
            "needs logits or a softmax, since the gradient is of their cross-entropy"
        )
    _refuse_early_softmax(last)
    if end is model.outputs[0]:
        return model, "the last layer is already linear"
    return keras.Model(model.inputs[0], end, name=model.name), (
        "the last layer is already linear; what follows it changes nothing at inference"
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

    softmax: mean softmax by true class [C, C]. head: the last dense layer, or None, and no_head the reason.
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
    """The share of images that the model is right on. x: float32 [P, H, W, C]; y: int [P]."""
    parts = [model(x[i : i + 256], training=False).numpy() for i in range(0, len(x), 256)]
    return float((np.concatenate(parts).argmax(axis=1) == y).mean())


def look_at(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Public:
    """Run public images through the model. x: float32 [P, H, W, C]; y: int [P]."""
    import keras

    head, no_head = find_head(model)
    entered = model.outputs[0] if head is None else model.get_layer(head.layer_name).input
    tapped = keras.Model(model.inputs[0], [entered, model.outputs[0]])
    parts = [tapped(x[i : i + 256], training=False) for i in range(0, len(x), 256)]
    features, logits = (np.concatenate([part[j].numpy() for part in parts]) for j in (0, 1))
    features = features if head else features[:, :0]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)

    def by_class(values: np.ndarray) -> np.ndarray:
        overall = values.mean(axis=0)
        return np.stack(
            [values[y == c].mean(axis=0) if (y == c).any() else overall for c in range(logits.shape[1])]
        )

    return Public(
        by_class(softmax),
        by_class(features),
        head is not None and bool(np.min(features) >= 0),
        head is not None and bool((features == 0).mean() > 0.01),
        float((logits.argmax(axis=1) == y).mean()),
        float(np.bincount(y).max() / len(y)),
        head,
        no_head,
    )
