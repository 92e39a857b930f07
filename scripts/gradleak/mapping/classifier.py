"""The model's JSON → a Keras model with a linear output, and statistics of it on public images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradleak.artifacts import architecture
from gradleak.artifacts.errors import ArtifactError
from gradleak.mapping.errors import MappingError

if TYPE_CHECKING:
    import keras


def logits_model(model_json: str) -> tuple[keras.Model, str]:
    """The model with a linear output, and what was changed for it. Raises MappingError with the reason."""
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
    if len(model.input_shape) != 4 or None in model.input_shape[1:] or len(model.output_shape) != 2:
        raise MappingError(
            "needs images in (None, H, W, C) and classes out (None, K); "
            f"this model maps {model.input_shape} → {model.output_shape}"
        )
    last = model.layers[-1]
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is softmax
    ):
        return keras.Model(model.inputs[0], last.input, name=model.name), "a final softmax layer was removed"
    if getattr(last, "activation", None) is softmax:

        def linear(layer: keras.layers.Layer) -> keras.layers.Layer:
            config = layer.get_config()
            if layer.name == last.name:
                config["activation"] = "linear"
            return type(layer).from_config(config)

        return keras.models.clone_model(
            model, clone_function=linear
        ), "the softmax of the last layer was made linear"
    activation = getattr(last, "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise MappingError(
            f"the last layer {last.name} ends in {getattr(activation, '__name__', activation)}; "
            "needs logits or a softmax, since the gradient is of their cross-entropy"
        )
    return model, "the last layer is already linear"


@dataclass(frozen=True)
class Public:
    """Statistics of the model on public images, at the weights before the round.

    softmax: mean softmax by true class [C, C]. features: mean input of the last layer by true class [C, d].
    positive: no feature is below zero. sparse: features are often exactly zero, as after a ReLU. accuracy: on
    public images. chance: the accuracy of the most frequent class.
    """

    softmax: np.ndarray
    features: np.ndarray
    positive: bool
    sparse: bool
    accuracy: float
    chance: float


def look_at(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Public:
    """Run public images through the model. x: float32 [P, H, W, C]; y: int [P]."""
    import keras

    tapped = keras.Model(model.inputs[0], [model.layers[-1].input, model.outputs[0]])
    parts = [tapped(x[i : i + 256], training=False) for i in range(0, len(x), 256)]
    features, logits = (np.concatenate([part[j].numpy() for part in parts]) for j in (0, 1))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)
    features = features.reshape(len(features), -1)

    def by_class(values: np.ndarray) -> np.ndarray:
        overall = values.mean(axis=0)
        return np.stack(
            [values[y == c].mean(axis=0) if (y == c).any() else overall for c in range(logits.shape[1])]
        )

    return Public(
        by_class(softmax),
        by_class(features),
        bool(np.min(features) >= 0),
        bool((features == 0).mean() > 0.01),
        float((logits.argmax(axis=1) == y).mean()),
        float(np.bincount(y).max() / len(y)),
    )
