"""Keras JSON of an untrusted file (Keras 2 or 3) → the same model, written anew from the allow-list alone.

Nothing of the original text reaches Keras. Each layer's class, options and connections are read here, checked
against the allow-list (``layer_options``), measured before anything is built (``layer_shapes``: parameters,
activations, work), and written as Keras 3 JSON. Initialisers, constraints and regularisers are omitted: the
weights come from a file. A note records each constraint and regulariser, since a regulariser changes the
client's gradient.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from gradleak.artifacts import limits
from gradleak.artifacts.bounded_json import parse_json
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.layer_options import (
    IGNORED,
    LAYERS,
    NEUTRAL,
    NOTED,
    RENAMED,
    UNSUITED,
    Refused,
    flag,
    short,
    size,
)
from gradleak.artifacts.layer_shapes import Layer, Variable, measure


@dataclass(frozen=True)
class Architecture:
    """A model that was checked.

    json: Keras 3 JSON. variables: in the order of ``model.weights``. notes: what was changed or is unusual.
    groups: layer → its group in a .weights.h5 file, where a layer has a class and a number but no name.
    unordered: layers behind which the order of PyTorch's elements is not known (see ``flattening``).
    """

    json: str
    variables: list[Variable]
    notes: list[str]
    groups: dict[str, str]
    unordered: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(variable.size for variable in self.variables)


def read(text: bytes | str, what: str = "model") -> Architecture:
    """Check and rewrite a model's JSON. Raises ArtifactError with ``what``, the layer and the option."""
    value = parse_json(text, what)
    try:
        return _model(value)
    except Refused as error:
        raise ArtifactError(f"{what}: {error}") from None


def is_model(value: Any) -> bool:
    """Whether a JSON value claims to be a Keras model."""
    return isinstance(value, dict) and isinstance(value.get("config"), dict | list) and "class_name" in value


def _model(value: Any) -> Architecture:
    if not is_model(value):
        raise Refused(f"no Keras model (has no class_name and config, but is {short(value)})")
    kind, config = value["class_name"], value["config"]
    if kind == "Model":  # Keras 1 and 2 called it so
        kind = "Functional"
    if kind not in ("Sequential", "Functional") or not _is_builtin(value):
        raise Refused(
            f"the model's class {short(value['class_name'])} is neither Sequential nor Functional: "
            "custom code is not run. Rebuild it from plain layers and save that model's JSON"
        )
    config = {"layers": config} if isinstance(config, list) else config  # Keras 1 and early 2
    entries = config.get("layers")
    if not isinstance(entries, list) or not entries:
        raise Refused("the model has no layers")
    if len(entries) > limits.MAX_LAYERS:
        raise Refused(f"{len(entries)} layers are more than the limit of {limits.MAX_LAYERS}")
    notes: list[str] = []
    of_keras_3 = _is_of_keras_3(value, entries)
    if not value.get("module") and not of_keras_3:
        notes.append(f"upgraded from Keras {short(value.get('keras_version', 'of unknown version'))} JSON")
    shape = _input_shape(entries, config)
    layers = [_layer(entry, notes) for entry in entries if not _is_input(entry)]
    if not of_keras_3:
        _refuse_other_functions(layers)
    if kind == "Sequential":
        source, layers, output = _chained(layers)
    else:
        source = next(_name(entry) for entry in entries if _is_input(entry))
        if _end(config.get("input_layers"), "input_layers") != source:
            raise Refused("needs one input layer that is the model's input")
        output = _end(config.get("output_layers"), "output_layers")
    names = [source, *(layer.name for layer in layers)]
    if len(set(names)) != len(names):
        raise Refused("two layers have the same name")
    if output not in names[1:]:
        raise Refused("the model's output is no layer of it")
    measured = measure(layers, source, shape)
    total = sum(v.size for v in measured.variables)
    if total > limits.MAX_PARAMETERS:
        raise Refused(f"{total} parameters are more than the limit of {limits.MAX_PARAMETERS}")
    name = config.get("name")
    name = name if isinstance(name, str) and re.fullmatch(r"[\w.\-]{1,100}", name) else "model"
    text = _written(kind, name, source, shape, layers, output)
    notes = list(dict.fromkeys(notes))
    return Architecture(text, measured.variables, notes, _groups(layers), measured.unordered)


def _is_of_keras_3(value: dict, entries: list) -> bool:
    """Whether Keras 3 wrote the model. Keras 2 gives the input's shape another name."""
    claimed = value.get("module") or str(value.get("keras_version")).startswith("3.")
    configs = [one.get("config") for one in entries if isinstance(one, dict)]
    return bool(claimed) and not any("batch_input_shape" in c for c in configs if isinstance(c, dict))


def _refuse_other_functions(layers: list[Layer]) -> None:
    """Raise for an activation that is another function in Keras 2 than in Keras 3."""
    for layer in layers:
        if layer.config.get("activation") == "hard_sigmoid":
            raise Refused(
                f"layer {layer.name}: the hard_sigmoid of Keras 2, clip(0.2 x + 0.5), is another function "
                "in Keras 3; the model cannot be built with it"
            )


def _chained(layers: list[Layer]) -> tuple[str, list[Layer], str]:
    """(name of the input, the layers with each one reading the layer before it, name of the output)."""
    source = "input"
    names = {layer.name for layer in layers}
    while source in names:
        source += "_"
    previous = [source, *(layer.name for layer in layers)]
    chained = [Layer(x.kind, x.name, x.config, [before], x.trainable) for x, before in zip(layers, previous)]
    return source, chained, previous[-1]


def _groups(layers: list[Layer]) -> dict[str, str]:
    found, counts = {}, {}
    for layer in layers:
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", layer.kind)).lower()
        number = counts[snake] = counts.get(snake, -1) + 1
        found[layer.name] = f"layers/{snake}_{number}" if number else f"layers/{snake}"
    return found


def _is_builtin(entry: dict) -> bool:
    module, registered = entry.get("module"), entry.get("registered_name")
    plain = module is None or (isinstance(module, str) and re.fullmatch(r"(tf_)?keras(\.[\w.]+)?", module))
    return bool(plain) and (registered is None or registered == entry.get("class_name"))


def _is_input(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("class_name") == "InputLayer"


def _name(entry: dict) -> str:
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.\-/ ]{1,100}", name):
        raise Refused(f"a layer's name is missing or odd: {short(name)}")
    return name.replace("/", "_")


def _input_shape(entries: list, config: dict) -> tuple[int, ...]:
    """The shape of one image, from wherever this version of Keras wrote it."""
    inputs = [entry for entry in entries if _is_input(entry)]
    if len(inputs) > 1:
        raise Refused(f"has {len(inputs)} inputs; one image tensor is what can be attacked")
    first = (inputs or entries)[0]
    own = first.get("config") if isinstance(first, dict) else None
    own = own if isinstance(own, dict) else {}
    found = own.get("batch_shape") or own.get("batch_input_shape") or config.get("build_input_shape")
    if not isinstance(found, list) or not 2 <= len(found) <= limits.MAX_RANK:
        raise Refused("the shape of its input is not given; build the model before saving its JSON")
    if own.get("sparse") or own.get("ragged"):
        raise Refused("its input is sparse or ragged, not images")
    if any(one is None for one in found[1:]):
        raise Refused(f"the input shape {short(found)} is not fixed")
    return tuple(size(one) for one in found[1:])


def _layer(entry: Any, notes: list[str]) -> Layer:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise Refused(f"a layer is {short(entry)}, not a class with a config")
    name, kind = _name(entry), entry.get("class_name")
    if kind in ("Sequential", "Functional", "Model"):
        raise Refused(f"layer {name} is a model inside the model; write its layers out")
    if isinstance(kind, str) and kind in UNSUITED:
        raise Refused(f"layer {name} ({kind}) {UNSUITED[kind]}")
    if not isinstance(kind, str) or kind not in LAYERS or not _is_builtin(entry):
        raise Refused(
            f"layer {name} is of class {short(kind)}, which is not on the list of layers that are built: "
            f"{', '.join(LAYERS)}"
        )
    given = {RENAMED.get((kind, key), key): value for key, value in entry["config"].items()}
    config: dict[str, Any] = {}
    for key, value in given.items():
        if key in LAYERS[kind]:
            try:
                config[key] = LAYERS[kind][key](value)
            except Refused as error:
                raise Refused(f"layer {name}: {key} {error}") from None
        elif NOTED.fullmatch(key):
            if value is not None:
                notes.append(
                    f"{name} has a {key.replace('_', ' ')}, whose part of the gradient cannot be separated"
                    if key.endswith("regularizer")
                    else f"{name} has a {key.replace('_', ' ')}, which is left out"
                )
        elif not IGNORED.fullmatch(key) and value not in (None, False, *NEUTRAL.get(key, ())):
            raise Refused(f"layer {name}: the option {short(key)} of {kind} is not known")
    if not _is_float32(given.get("dtype")):
        notes.append(f"{name} was not float32; it is built as float32")
    trainable = given.get("trainable", True)
    return Layer(
        kind, name, config, _inbound(entry, name), flag(trainable) if trainable is not None else True
    )


def _is_float32(dtype: Any) -> bool:
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    return dtype in (None, "float32")


def _inbound(entry: dict, name: str) -> list[str]:
    """The names of the layers that this one reads, from Keras 3's nodes or the lists of earlier versions."""
    nodes = entry.get("inbound_nodes")
    if not nodes:
        return []
    if not isinstance(nodes, list) or len(nodes) != 1:
        raise Refused(f"layer {name} is used more than once; shared weights are not supported")
    node, found = nodes[0], []
    left = [node.get("args")] if isinstance(node, dict) else [node]
    if isinstance(node, dict) and any(
        v is not None for k, v in (node.get("kwargs") or {}).items() if k != "training"
    ):
        raise Refused(f"layer {name} is called with arguments, which is not supported")
    while left:
        one = left.pop(0)
        if isinstance(one, dict) and one.get("class_name") == "__keras_tensor__":
            one = (one.get("config") or {}).get("keras_history")
        if isinstance(one, list) and len(one) >= 3 and isinstance(one[0], str):
            if one[1:3] != [0, 0] or one[3:] not in ([], [{}]):
                raise Refused(f"layer {name} is called with arguments or reads a layer used twice")
            found.append(one[0].replace("/", "_"))
        elif isinstance(one, list):
            left = one + left
        else:
            raise Refused(f"the inputs of layer {name} cannot be read")
    if len(found) > limits.MAX_LAYERS:
        raise Refused(f"layer {name} has {len(found)} inputs")
    return found


def _end(value: Any, what: str) -> str:
    """The layer name in ``[name, 0, 0]`` or ``[[name, 0, 0]]``."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise Refused(f"{what} is {short(value)}; a model of one input and one output is needed")
    return value[0].replace("/", "_")


def _written(kind: str, name: str, source: str, shape: tuple, layers: list[Layer], output: str) -> str:
    entry = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "registered_name": None,
        "config": {"batch_shape": [None, *shape], "dtype": "float32", "name": source},
    }
    entries = [entry | ({"name": source, "inbound_nodes": []} if kind == "Functional" else {})]
    for layer in layers:
        config = {"name": layer.name, "trainable": layer.trainable, "dtype": "float32", **layer.config}
        if layer.kind in ("SpatialDropout1D", "SpatialDropout2D"):  # Keras 3's takes no such option
            del config["trainable"]
        entry = {
            "module": "keras.layers",
            "class_name": layer.kind,
            "registered_name": None,
            "config": config,
        }
        if kind == "Functional":
            entry |= {"name": layer.name, "inbound_nodes": [[[n, 0, 0, {}] for n in layer.inputs]]}
        entries.append(entry)
    config = {"name": name, "trainable": True, "layers": entries}
    if kind == "Functional":
        config |= {"input_layers": [source, 0, 0], "output_layers": [output, 0, 0]}
    kind = "Model" if kind == "Functional" else kind  # the public name of the class that Keras builds from it
    return json.dumps({"module": "keras", "class_name": kind, "registered_name": None, "config": config})
