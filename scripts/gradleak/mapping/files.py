"""The file ``gradients.npz``, which holds a block of mapped updates: its only reader and its only writer.

Reading needs no TensorFlow. ``model_of`` builds the Keras model of a block, and imports it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.files import read_npz, write_npz
from gradleak.losses import CATEGORICAL
from gradleak.mapping.head import SOFTMAX, Head

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class MappedBlock:
    """The mapped updates of D draws that share a model with L trainable variables and C classes.

    model_json: the model in Keras 3 JSON, with a linear output. weights: of the round, in the order of
    ``model.get_weights()``. gradients: float32 [D, *shape] for each trainable variable, the mean over the
    samples. trainable: place of each trainable variable in ``weights``, int [L]. layer: layer index of each
    trainable variable, int [L], 0 is the first. samples: images behind each update. public_softmax: mean
    softmax of public images by true class [C, C]; without any, that of noise in every row. rounding: standard
    deviation of a gradient's rounding error, in units of the root mean square of its variable. noise:
    standard deviation of further noise on each gradient [L]. steps: local steps of the client, None if not
    stated. draws: int [D]. head: the last dense layer, None if the model ends in anything else, and
    no_head the reason. scale_confidence: of the scale that the delta was divided by, from 0 (unknown) to 1
    (stated in the settings). coupled: names of the BatchNormalization layers that normalised by the batch
    (training mode). has_statistics: ``weights``
    hold the statistics of that batch in the place of the moving ones, so that the model evaluates an image as
    the client did. loss: of the model's logits, a text of ``Loss``. A model of one sigmoid unit has two
    logits here, whose softmax gives its loss. With binary_crossentropy an image has any number of the C
    labels, and public_softmax holds mean sigmoids.
    """

    model_json: str
    weights: list[np.ndarray]
    gradients: list[np.ndarray]
    trainable: np.ndarray
    layer: np.ndarray
    samples: int
    public_softmax: np.ndarray
    rounding: float
    noise: np.ndarray
    steps: int | None
    draws: np.ndarray
    head: Head | None
    scale_confidence: float
    no_head: str = ""
    coupled: tuple[str, ...] = ()
    has_statistics: bool = False
    loss: str = CATEGORICAL

    def weight(self, variable: int) -> np.ndarray:
        """The weights of trainable variable number ``variable``; negative numbers count from the last."""
        return self.weights[self.trainable[variable]]

    @property
    def start(self) -> list[np.ndarray]:
        """The weights of the trainable variables."""
        return [self.weights[place] for place in self.trainable]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the model's input."""
        layers = json.loads(self.model_json)["config"]["layers"]
        (first,) = [layer for layer in layers if layer["class_name"] == "InputLayer"]
        return tuple(first["config"]["batch_shape"][1:])


def write_block(path: str | Path, block: MappedBlock) -> None:
    """Write ``block``. Equal blocks give equal bytes."""
    write_npz(
        path,
        model=np.array(block.model_json),
        **{f"weight_{i}": weight for i, weight in enumerate(block.weights)},
        **{f"gradient_{i}": gradient for i, gradient in enumerate(block.gradients)},
        trainable=block.trainable,
        layer=block.layer,
        samples=block.samples,
        public_softmax=block.public_softmax,
        rounding=block.rounding,
        noise=block.noise,
        steps=block.steps or 0,
        draws=block.draws,
        **_head_arrays(block.head),
        no_head=np.array(block.no_head),
        scale_confidence=block.scale_confidence,
        coupled=np.array(block.coupled, dtype=np.str_),
        has_statistics=block.has_statistics,
        **({} if block.loss == CATEGORICAL else {"loss": np.array(block.loss)}),
    )


def read_block(path: str | Path) -> MappedBlock:
    """Read what ``write_block`` wrote."""
    arrays = read_npz(path)
    return MappedBlock(
        model_json=str(arrays["model"]),
        weights=_numbered(arrays, "weight_"),
        gradients=_numbered(arrays, "gradient_"),
        trainable=arrays["trainable"],
        layer=arrays["layer"],
        samples=int(arrays["samples"]),
        public_softmax=arrays["public_softmax"],
        rounding=float(arrays["rounding"]),
        noise=arrays["noise"],
        steps=int(arrays["steps"]) or None,
        draws=arrays["draws"],
        head=_read_head(arrays),
        no_head=str(arrays["no_head"]),
        scale_confidence=float(arrays["scale_confidence"]),
        coupled=tuple(str(name) for name in arrays["coupled"]),
        has_statistics=bool(arrays["has_statistics"]),
        loss=str(arrays.get("loss", CATEGORICAL)),
    )


def read_classes(path: str | Path) -> int:
    """The number of classes of a block, without its other arrays."""
    with np.load(path, allow_pickle=False) as archive:
        return len(archive["public_softmax"])


def _head_arrays(head: Head | None) -> dict[str, np.ndarray]:
    if head is None:
        return {}
    bias = [] if head.bias_index is None else [head.bias_index]
    arrays = {"head": np.array([head.kernel_index, *bias]), "head_layer": np.array(head.layer_name)}
    return arrays if head.output == SOFTMAX else arrays | {"head_output": np.array(head.output)}


def _read_head(arrays: dict[str, np.ndarray]) -> Head | None:
    if "head" not in arrays:
        return None
    kernel, *bias = arrays["head"].tolist()
    output = str(arrays.get("head_output", SOFTMAX))
    return Head(kernel, bias[0] if bias else None, str(arrays["head_layer"]), output)


def _numbered(arrays: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{i}"] for i in range(count)]


def model_of(block: MappedBlock) -> keras.Model:
    """The Keras model with the weights of the round."""
    import keras

    model = keras.models.model_from_json(block.model_json)
    model.set_weights(block.weights)
    return model


def trainable_places(model: keras.Model) -> np.ndarray:
    """The place of each trainable variable in ``model.weights``, int [L]."""
    return np.array([i for v in model.trainable_variables for i, w in enumerate(model.weights) if w is v])


def gradients_of(blocks: Sequence[MappedBlock], draws: Sequence[int]) -> list[np.ndarray]:
    """Gradients of ``draws``, float32 [len(draws), *shape] per variable. A draw may occur more than once."""
    place = {int(draw): (block, index) for block in blocks for index, draw in enumerate(block.draws)}
    chosen = [place[draw] for draw in draws]
    return [
        np.stack([block.gradients[variable][index] for block, index in chosen])
        for variable in range(len(blocks[0].gradients))
    ]
