"""The user's own Keras model as the classifier that simulated clients train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradleak.artifacts.leak import Leak
from gradleak.errors import UserError
from gradleak.federated.options import ClientOptions
from gradleak.mapping.alignment import load_weights
from gradleak.mapping.classifier import read_classifier
from gradleak.mapping.errors import MappingError

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]


def own_model(options: ClientOptions, received: Leak, shape: Shape, classes: int) -> keras.Model:
    """The model of ``options.own_model``, with logits (B, classes) for examples (B, *shape).

    received: what ``receive_model`` has read of the file. A model that takes the same numbers in another
    shape gets a Reshape in front; a final softmax or sigmoid is made linear; of one output z the two logits
    (0, z) are made. The weights are those of the file, or else Keras' default initial ones, which depend on
    ``options.model_seed`` alone. Raises UserError with the file and the reason.
    """
    import keras

    path = options.own_model
    keras.utils.set_random_seed(options.model_seed)
    try:
        found = read_classifier(received.model_json, shape)
        model = found.model
        if received.before:
            load_weights(model, received.model_json, received.before)
    except MappingError as error:
        raise UserError(f"{path}: {error}") from None
    outputs = model.output_shape[-1]
    if outputs != classes:
        has = "1 output, which makes two classes" if found.is_unit else f"{outputs} outputs"
        raise UserError(f"{path}: the model has {has}, and the data set {classes} classes")
    return model
