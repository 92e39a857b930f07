"""A layer in front of all others, in the JSON of a Keras model."""

from __future__ import annotations

import json
from typing import Any

from gradleak.artifacts import architecture


def input_shape(model_json: str) -> tuple[int, ...]:
    """The shape of one example that the model takes."""
    first = json.loads(architecture.read(model_json).json)["config"]["layers"][0]
    return tuple(first["config"]["batch_shape"][1:])


def with_front_layer(
    model_json: str, kind: str, name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> str:
    """The JSON of a model with one more layer between its input and all that read it.

    kind, options: class of the layer, and its configuration. name: of the layer; underscores are added where
    another one has it. shape: of one example that the new model takes.
    """
    model = json.loads(architecture.read(model_json).json)
    first, *others = model["config"]["layers"]
    source = first["config"]["name"]
    first["config"]["batch_shape"] = [None, *shape]
    while name in {layer["config"]["name"] for layer in others}:
        name += "_"
    added: dict[str, Any] = {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "config": {"name": name, **options},
    }
    if "inbound_nodes" in first:
        added |= {"name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}
        for layer in others:
            for node in layer["inbound_nodes"]:
                for entry in node:
                    entry[0] = name if entry[0] == source else entry[0]
    model["config"]["layers"] = [first, added, *others]
    return json.dumps(model)
