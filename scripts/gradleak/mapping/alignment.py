"""Artifacts of a block of draws → weights and deltas in the order of the model's variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradleak.artifacts import architecture
from gradleak.artifacts.leak import Leak
from gradleak.mapping.assign import Match, assigned, match
from gradleak.mapping.errors import MappingError
from gradleak.mapping.layouts import Flattened

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Aligned:
    """Tensors in the order of ``model.trainable_variables``.

    before: weights of the round. deltas: as shared, float32 [D, *shape] each. rows: of the first delta, one
    for each variable (see ``assigned``). weights_matched_by: how the weights were matched.
    missing_weights: paths of the variables that the file of weights does not have; they keep Keras's initial
    values. untrained: deltas of the other variables that every update holds (moving statistics), path →
    float32 [D, *shape]. layout: of the deltas, keras or torch. is_exported: whether the model came as an ONNX
    file, with the numbers of the client's layers.
    """

    before: list[np.ndarray]
    deltas: list[np.ndarray]
    rows: list[dict]
    weights_matched_by: str
    missing_weights: tuple[str, ...]
    untrained: dict[str, np.ndarray]
    layout: str
    is_exported: bool = False


def align(leaks: list[Leak], model: keras.Model) -> Aligned:
    """Match the tensors of ``leaks`` to ``model``, and load the weights of the round into it.

    Raises MappingError if a tensor cannot be matched, or if the draws start from different weights.
    """
    variables = model.trainable_variables
    flat, known = _flattened(model, leaks[0].model_json), _known_variables(leaks[0])
    before, before_rows, missing = _load_weights(model, leaks[0].before, flat, known)
    for index, leak in enumerate(leaks):
        if any(
            not np.array_equal(a, b)
            for a, b in zip(leak.before.values(), leaks[0].before.values(), strict=True)
        ):
            raise MappingError(f"draw {index} starts from other weights than draw 0")
    found = [match(leak.delta, variables, model.weights, "delta", flat, known) for leak in leaks]
    mapped = [assigned(one, variables) for one in found]
    deltas = [np.stack([arrays[i] for arrays, _ in mapped]) for i in range(len(variables))]
    return Aligned(
        before,
        deltas,
        mapped[0][1],
        before_rows[0]["matched_by"],
        missing,
        _untrained(model, found),
        found[0].layout,
        bool(known),
    )


def _known_variables(leak: Leak) -> dict[str, str]:
    """Key of a tensor, in PyTorch's layout → ``layer/kernel``, as an ONNX file gives it, or nothing."""
    found = leak.manifest.get("variables")
    return {str(key): str(name) for key, name in found.items()} if isinstance(found, dict) else {}


def _untrained(model: keras.Model, found: list[Match]) -> dict[str, np.ndarray]:
    """``Aligned.untrained``. Raises MappingError for a tensor of another shape."""
    deltas = {}
    for variable in model.non_trainable_variables:
        arrays = [one.arrays.get(id(variable)) for one in found]
        held = [array for array in arrays if array is not None]
        for array in held:
            if array.shape != tuple(variable.shape):
                raise MappingError(
                    f"delta: {found[0].keys[id(variable)]} has shape {array.shape}, "
                    f"{variable.path} needs {tuple(variable.shape)}"
                )
        if len(held) == len(arrays):
            deltas[variable.path] = np.stack(held).astype(np.float32)
    return deltas


def load_weights(model: keras.Model, model_json: str, arrays: dict[str, np.ndarray]) -> None:
    """Load the tensors of a file into ``model``. Raises MappingError if one cannot be matched."""
    _load_weights(model, arrays, _flattened(model, model_json))


def layer_index(model: keras.Model) -> np.ndarray:
    """The layer of each trainable variable, int [L]; only layers with trainable variables count."""
    owners = [layer for layer in model.layers if layer.trainable_variables]
    position = {id(v): index for index, layer in enumerate(owners) for v in layer.trainable_variables}
    return np.array([position[id(v)] for v in model.trainable_variables])


def _flattened(model: keras.Model, model_json: str) -> Flattened:
    """The variables that read a flattened image, for tensors in PyTorch's layout."""
    read = architecture.read(model_json)
    orders = {v.name.replace("/", "."): v.flat for v in read.variables if v.flat}
    return Flattened(
        {
            id(v): orders[name]
            for layer in model.layers
            for v in layer.weights
            if (name := f"{layer.name}.{v.path.rpartition('/')[2]}") in orders
        },
        read.unordered,
    )


def _load_weights(
    model: keras.Model, arrays: dict[str, np.ndarray], flat: Flattened, known: dict[str, str] | None = None
) -> tuple[list[np.ndarray], list[dict], tuple[str, ...]]:
    """Load the weights of the round. Returns the trainable ones, their rows, and what the file has not."""
    variables = model.trainable_variables
    found = match(arrays, variables, model.weights, "weights before", flat, known)
    before, rows = assigned(found, variables)
    for variable in model.weights:
        value = found.arrays.get(id(variable))
        if value is None:
            continue
        if value.shape != tuple(variable.shape):
            key, shape = found.keys[id(variable)], tuple(variable.shape)
            raise MappingError(
                f"weights before: {key} has shape {value.shape}, {variable.path} needs {shape}"
            )
        variable.assign(value)
        if not np.array_equal(variable.numpy(), value):
            raise MappingError(f"{variable.path} did not take the weights of the file")
    return before, rows, found.missing
