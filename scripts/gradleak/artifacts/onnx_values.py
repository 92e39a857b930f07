"""What the names in an ONNX graph stand for, and the Keras layers that are made of its nodes.

Shapes are those of one example in PyTorch's layout: (C, H, W), (H, W) or (D,).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradleak.artifacts.layer_options import Refused, short
from gradleak.artifacts.onnx_graph import Graph, Node

Shape = tuple[int, ...]
SOURCE = "image"  # name of the input layer


@dataclass(frozen=True)
class Tensor:
    """The output of a Keras layer. is_positive: whether no number of it is below 0."""

    layer: str
    shape: Shape
    is_positive: bool = False


@dataclass(frozen=True)
class Parameter:
    """A tensor of the state dict. shape: as read here, after a transposition or with further axes of 1."""

    key: str
    shape: Shape
    is_transposed: bool = False


@dataclass
class Partial:
    """A step of a function that takes several nodes, such as GELU. base: what it is a function of. options:
    by ``kind``. make: the layer that computes it, should it be read by itself.
    """

    kind: str
    base: Tensor
    options: tuple[Any, ...]
    make: Callable[[], Tensor]
    made: Tensor | None = None


Value = Tensor | Parameter | Partial | np.ndarray


@dataclass
class Net:
    """The layers so far. variables: key of the state dict → ``layer/kernel``. values: by the names of the
    graph.
    """

    graph: Graph
    values: dict[str, Value] = field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def value(self, node: Node, index: int) -> Value | None:
        """Input number ``index`` of a node, or None if it is not given."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.values:
            raise Refused(f"{node} reads {short(name)}, a second output of a node, which is not computed")
        return self.values[name]

    def tensor(self, node: Node, index: int = 0) -> Tensor:
        """The same, of an input that depends on the images."""
        found = self.value(node, index)
        if isinstance(found, Partial):
            return self.whole(found)
        if not isinstance(found, Tensor):
            raise Refused(f"{node}: its input {index + 1} does not come from the images")
        return found

    def image(self, node: Node) -> Tensor:
        """The same, of shape (C, H, W)."""
        found = self.tensor(node)
        if len(found.shape) != 3:
            raise Refused(f"{node} reads a tensor of shape {list(found.shape)}, not images (C, H, W)")
        return found

    def whole(self, partial: Partial) -> Tensor:
        """The layer of a function that is not followed by the rest of what it could have been."""
        if partial.made is None:
            partial.made = partial.make()
        return partial.made

    def constant(self, node: Node, index: int) -> np.ndarray | None:
        """The numbers of an input; None if it is not given."""
        found = self.value(node, index)
        if found is None or isinstance(found, np.ndarray):
            return found
        if isinstance(found, Parameter) and found.key in self.graph.constants:
            return self.graph.constants[found.key]
        raise Refused(f"{node}: its input {index + 1} has to be a constant of the file")

    def integers(self, node: Node, index: int) -> list[int] | None:
        """The same, of whole numbers."""
        found = self.constant(node, index)
        if found is None:
            return None
        if found.dtype.kind not in "iu" or found.ndim > 1:
            raise Refused(f"{node}: its input {index + 1} has to be whole numbers")
        return [int(one) for one in found.ravel()]

    def parameter(self, node: Node, index: int, shape: Shape) -> str:
        """The key of an input that has to be a tensor of the state dict of this shape."""
        found = self.value(node, index)
        if not isinstance(found, Parameter):
            raise Refused(f"{node}: its input {index + 1} is no tensor of the state dict")
        if found.shape != shape:
            raise Refused(
                f"{node}: {found.key} has the shape {list(found.shape)}, and {list(shape)} is needed"
            )
        return found.key

    def add(
        self,
        kind: str,
        inputs: Iterable[Tensor],
        shape: Shape,
        config: dict[str, Any] | None = None,
        keys: dict[str, str] | None = None,
    ) -> Tensor:
        """Append a layer. keys: variable of the layer → key of the state dict, where it has any."""
        keys = keys or {}
        name = self._name(kind, next(iter(keys.values()), ""))
        for variable, key in keys.items():
            if key in self.variables:
                raise Refused(f"{key} is used in more than one layer; shared weights are not supported")
            self.variables[key] = f"{name}/{variable}"
        self.layers[name] = {
            "class_name": kind,
            "config": {"name": name, **(config or {})},
            "name": name,
            "inbound_nodes": [[[one.layer, 0, 0, {}] for one in inputs]],
        }
        return Tensor(name, shape)

    def _name(self, kind: str, key: str) -> str:
        """The module's name with underscores, or that of the kind of layer; with a number if it is taken.

        TensorFlow takes ASCII, and no underscore at the start.
        """
        module = re.sub(r"[^A-Za-z0-9]", "_", key.rpartition(".")[0])
        stem = (module.lstrip("_") or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower())[:80]
        name, number = stem, 0
        while name in self.layers or name == SOURCE:
            number += 1
            name = f"{stem}_{number}"
        return name
