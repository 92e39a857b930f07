"""The user's own Keras model as the classifier that simulated clients train."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gradleak.artifacts.receive import receive_model
from gradleak.errors import UserError
from gradleak.mapping.alignment import load_weights
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]


def read(path: str, shape: Shape, classes: int, seed: int) -> keras.Model:
    """The model in a .json or .keras file, with logits (B, classes) for examples (B, *shape).

    It is read as an untrusted file, in a process of its own. A model that takes the same numbers in another
    shape gets a Reshape in front; a final softmax is made linear. The weights are those of the file, or else
    Keras' default initial ones, which depend on ``seed`` alone. Raises UserError with the file and the
    reason.
    """
    import keras

    with TemporaryDirectory() as folder:
        found = receive_model(Path(path).resolve(), Path(folder))
    keras.utils.set_random_seed(seed)
    try:
        model, _ = logits_model(found.model_json, shape)
        if found.before:
            load_weights(model, found.model_json, found.before)
    except MappingError as error:
        raise UserError(f"{path}: {error}") from None
    outputs = model.output_shape[-1]
    if outputs != classes:
        hint = "; a model of one output is not simulated yet, give it two" if outputs == 1 else ""
        raise UserError(f"{path}: the model has {outputs} outputs, and the data set {classes} classes{hint}")
    return model
