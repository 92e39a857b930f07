"""The graph in an ONNX file of an untrusted sender: its nodes, and the shapes of its parameters.

Only what a plain network needs is read: the default domain, no functions, no graphs inside a graph, no
sparse, quantised or text tensors. Data outside of the file are never opened. The numbers of small constants
are read, such as the shape that a Reshape gives; those of parameters never are. The fields are those of
onnx.proto.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from gradleak.artifacts import limits, onnx_limits
from gradleak.artifacts.layer_options import Refused, short
from gradleak.artifacts.onnx_wire import Budget, Kind, Message, message

OPSETS = range(13, 24)
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9  # TensorProto.DataType
STORED = {FLOAT: "<f4", INT32: "<i4", INT64: "<i8", BOOL: "?"}
OTHERS = "tensors of another kind"

_MODEL = Kind(
    "model",
    {1: "ir_version", 2: "producer_name", 3: "producer_version", 4: "domain", 5: "model_version"}
    | {6: "doc_string", 7: "graph"},
    {8: "opset_import", 14: "metadata_props"},
    {20: "a graph of training, which is not read", 25: "functions, which are not read"}
    | {26: "settings of devices, which are not read"},
)
_OPSET = Kind("opset", {1: "domain", 2: "version"}, {}, {})
_GRAPH = Kind(
    "graph",
    {2: "name", 10: "doc_string"},
    {1: "node", 5: "initializer", 11: "input", 12: "output", 13: "value_info", 16: "metadata_props"},
    {14: "quantised tensors, whose numbers have no meaning alone", 15: "sparse tensors, which are not read"},
)
_NODE = Kind(
    "node",
    {3: "name", 4: "op_type", 6: "doc_string", 7: "domain", 8: "overload"},
    {1: "input", 2: "output", 5: "attribute", 9: "metadata_props"},
    {10: "settings of devices, which are not read"},
)
_ATTRIBUTE = Kind(
    "attribute",
    {1: "name", 2: "f", 3: "i", 4: "s", 5: "t", 13: "doc_string", 20: "type"},
    {7: "floats", 8: "ints", 9: "strings"},
    {6: "a graph inside the graph, which is not read", 11: "graphs inside the graph, which are not read"}
    | {21: "a reference to a function, which is not read"}
    | dict.fromkeys((10, 14, 15, 22, 23), OTHERS + ", which are not read"),
)
_TENSOR = Kind(
    "tensor",
    {2: "data_type", 8: "name", 9: "raw_data", 12: "doc_string", 14: "data_location"},
    {1: "dims", 4: "float_data", 5: "int32_data", 7: "int64_data", 16: "metadata_props"},
    {3: "segments, which are not read", 6: "text, which is no number"}
    | {13: "data outside of the file, which are never opened"}
    | {10: "numbers of 64 bits; export the model in float32", 11: "unsigned numbers, which are not read"},
)
_VALUE = Kind("value", {1: "name", 2: "type", 3: "doc_string"}, {4: "metadata_props"}, {})
_TYPE = Kind(
    "type",
    {1: "tensor_type", 6: "denotation"},
    {},
    dict.fromkeys((4, 5, 7, 8, 9), "no tensor, but another type"),
)
_TENSOR_TYPE = Kind("tensor type", {1: "elem_type", 2: "shape"}, {}, {})
_SHAPE = Kind("shape", {}, {1: "dim"}, {})
_DIM = Kind("dimension", {1: "dim_value", 2: "dim_param", 3: "denotation"}, {}, {})

Attribute = int | float | str | list[int] | list[float] | np.ndarray


@dataclass(frozen=True)
class Node:
    """place: its number in the file, from 1. inputs: names; an empty one stands for an option that is not
    given.
    """

    place: int
    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute]

    def __str__(self) -> str:
        return f"node {self.place} ({self.op}{f' {self.name}' if self.name else ''})"


@dataclass(frozen=True)
class Graph:
    """input, output: names. image: shape of one example in PyTorch's layout. batch: number of examples that
    the model was exported with, None if it is free. parameters: key of the state dict → shape, in the order
    of the file. constants: small tensors of the file by name.
    """

    opset: int
    input: str
    image: tuple[int, ...]
    batch: int | None
    output: str
    parameters: dict[str, tuple[int, ...]]
    constants: dict[str, np.ndarray]
    nodes: list[Node]
    notes: list[str] = field(default_factory=list)


def parse(content: bytes) -> Graph:
    """The graph of an ONNX file. Raises Refused with the part that is damaged or not read."""
    budget = Budget()
    model = message(content, _MODEL, budget)
    opset = _opset(model, budget)
    if not model.has("graph"):
        raise Refused("it has no graph")
    graph = message(model.raw("graph"), _GRAPH, budget)
    inputs = _values(graph, "input", budget)
    if not inputs:
        raise Refused("its graph has no input")
    initial, constants = _initializers(graph, budget)
    for name, shape in initial.items():
        if name in inputs and inputs[name] != shape:
            raise Refused(f"{short(name)} has two shapes, {list(inputs[name])} and {list(shape)}")
    given = [name for name in inputs if name not in initial]
    if not given:
        raise Refused("its graph has no input for the images")
    source = given[0]
    parameters = {name: _sizes(shape, name) for name, shape in (inputs | initial).items() if name != source}
    total = sum(math.prod(shape) for shape in parameters.values())
    if total > limits.MAX_PARAMETERS:
        raise Refused(f"{total} parameters are more than the limit of {limits.MAX_PARAMETERS}")
    outputs = [message(one, _VALUE, budget).text("name") for one in graph.all_raw("output")]
    if len(outputs) != 1:
        raise Refused(f"its graph has {len(outputs)} outputs; one tensor of class scores is needed")
    nodes = _nodes(graph, budget)
    _check_order(nodes, {source, *parameters, *constants}, outputs[0])
    batch, image = _image(inputs[source], source)
    return Graph(opset, source, image, batch, outputs[0], parameters, constants, nodes)


def _opset(model: Message, budget: Budget) -> int:
    found = [message(one, _OPSET, budget) for one in model.all_raw("opset_import")]
    own = [one.number("version") for one in found if one.text("domain") in ("", "ai.onnx")]
    if len(own) != 1:
        raise Refused("it does not say once which version of the operators it uses")
    if own[0] not in OPSETS:
        raise Refused(
            f"it uses opset {own[0]}, and {OPSETS[0]} to {OPSETS[-1]} are read; set opset_version=17"
        )
    return own[0]


def _values(graph: Message, name: str, budget: Budget) -> dict[str, tuple[int | str, ...]]:
    """Name → shape of the inputs; a free dimension is a text."""
    found: dict[str, tuple[int | str, ...]] = {}
    for content in graph.all_raw(name):
        value = message(content, _VALUE, budget)
        own = value.text("name")
        if not own or own in found:
            raise Refused(f"two of its inputs are called {short(own)}, or one has no name")
        if len(found) > limits.MAX_MEMBERS:
            raise Refused("it has more inputs than any model has parameters")
        kind = message(value.raw("type"), _TYPE, budget)
        tensor = message(kind.raw("tensor_type"), _TENSOR_TYPE, budget)
        if tensor.number("elem_type") != FLOAT:
            raise Refused(f"its input {short(own)} is not float32; export the model in float32")
        dims = message(tensor.raw("shape"), _SHAPE, budget).all_raw("dim")
        if len(dims) > limits.MAX_RANK:
            raise Refused(f"{short(own)} has {len(dims)} axes")
        parts = [message(dim, _DIM, budget) for dim in dims]
        found[own] = tuple(
            one.number("dim_value") if one.has("dim_value") else one.text("dim_param") for one in parts
        )
    return found


def _sizes(shape: tuple[int | str, ...], name: str) -> tuple[int, ...]:
    """A shape of which every size is known and possible."""
    for one in shape:
        if not isinstance(one, int) or not 1 <= one <= limits.MAX_PARAMETERS:
            raise Refused(f"{short(name)} has the shape {short(list(shape))}, which no tensor has")
    return tuple(one for one in shape if isinstance(one, int))


def _image(shape: tuple[int | str, ...], name: str) -> tuple[int | None, tuple[int, ...]]:
    """(number of examples, shape of one)."""
    if len(shape) not in (2, 3, 4):
        raise Refused(
            f"its input {short(name)} has {len(shape)} axes; images (N, C, H, W), rows (N, H, W) or "
            "vectors (N, D) can be attacked"
        )
    batch = shape[0]
    if isinstance(batch, int) and not 1 <= batch <= limits.MAX_SIZE:
        raise Refused(f"its input {short(name)} has {batch} examples")
    image = _sizes(shape[1:], name)
    if math.prod(image) > limits.MAX_ACTIVATIONS:
        raise Refused(f"images of {list(image)} are more than the limit of {limits.MAX_ACTIVATIONS} numbers")
    return batch if isinstance(batch, int) else None, image


def _initializers(graph: Message, budget: Budget) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    """(name → shape of those of float32, name → numbers of the small ones)."""
    shapes: dict[str, tuple[int, ...]] = {}
    constants: dict[str, np.ndarray] = {}
    for content in graph.all_raw("initializer"):
        tensor = message(content, _TENSOR, budget)
        name = tensor.text("name")
        if not name or name in shapes or name in constants:
            raise Refused(f"two of its tensors are called {short(name)}, or one has no name")
        if len(shapes) + len(constants) > limits.MAX_MEMBERS:
            raise Refused("it has more tensors than any model")
        found = _tensor(tensor, name)
        if isinstance(found, np.ndarray):
            constants[name] = found
        if tensor.number("data_type") == FLOAT:
            shapes[name] = found.shape if isinstance(found, np.ndarray) else found
    return shapes, constants


def _tensor(tensor: Message, name: str) -> np.ndarray | tuple[int, ...]:
    """The numbers of a small tensor; the shape of a larger one."""
    kind = tensor.number("data_type")
    if kind not in STORED:
        raise Refused(
            f"the tensor {short(name)} has the data type {kind}; float32 and whole numbers are read"
        )
    if tensor.number("data_location"):
        raise Refused("its tensor has data outside of the file, which are never opened")
    dims = tensor.numbers("dims")
    if len(dims) > limits.MAX_RANK:
        raise Refused(f"{short(name)} has {len(dims)} axes")
    shape = _sizes(tuple(dims), name)
    size = math.prod(shape)
    if size > onnx_limits.MAX_CONSTANT:
        return shape
    stored = np.dtype(STORED[kind])
    raw = tensor.raw("raw_data")
    if tensor.has("raw_data"):
        values = np.frombuffer(raw, stored) if len(raw) == size * stored.itemsize else np.empty(0)
    elif kind == FLOAT:
        values = np.array(tensor.reals("float_data"), np.float32)
    else:
        values = np.array(tensor.numbers("int64_data" if kind == INT64 else "int32_data"), np.int64)
    if values.size != size:
        raise Refused(f"the tensor {short(name)} has the shape {list(shape)}, but not as many numbers")
    if not np.isfinite(values).all():
        raise Refused(f"the tensor {short(name)} holds NaN or Inf")
    return values.reshape(shape)


def _nodes(graph: Message, budget: Budget) -> list[Node]:
    contents = graph.all_raw("node")
    if len(contents) > onnx_limits.MAX_NODES:
        raise Refused(f"{len(contents)} nodes are more than the limit of {onnx_limits.MAX_NODES}")
    if not contents:
        raise Refused("its graph has no nodes")
    return [_node(content, place, budget) for place, content in enumerate(contents, 1)]


def _node(content: bytes, place: int, budget: Budget) -> Node:
    node = message(content, _NODE, budget)
    op, name, domain = node.text("op_type"), node.text("name"), node.text("domain")
    made = Node(place, op, name[:80], node.texts("input"), node.texts("output"), {})
    if domain not in ("", "ai.onnx"):
        raise Refused(f"{made} is of the domain {short(domain)}, whose operators are not read")
    if max(len(made.inputs), len(made.outputs)) > limits.MAX_LAYERS:
        raise Refused(f"{made} has more inputs or outputs than any layer")
    for one in node.all_raw("attribute"):
        attribute = message(one, _ATTRIBUTE, budget)
        key = attribute.text("name")
        if not key or key in made.attributes:
            raise Refused(f"{made} gives the attribute {short(key)} twice, or one without a name")
        made.attributes[key] = _attribute(attribute, key, budget)
    return made


def _attribute(attribute: Message, name: str, budget: Budget) -> Attribute:
    """The value in the field that the attribute's type names (AttributeProto.AttributeType)."""
    kind = attribute.number("type")
    if kind == 1:
        value = attribute.real("f")
        if not math.isfinite(value):
            raise Refused(f"the attribute {short(name)} is NaN or Inf")
        return shortest(value)
    if kind == 2:
        return attribute.number("i")
    if kind == 3:
        return attribute.text("s")
    if kind == 4:
        found = _tensor(message(attribute.raw("t"), _TENSOR, budget), name)
        if not isinstance(found, np.ndarray):
            raise Refused(
                f"a constant has the shape {list(found)}; at most {onnx_limits.MAX_CONSTANT} are read, since "
                "weights come from the state dict"
            )
        return found
    if kind == 6:
        return attribute.reals("floats")
    if kind == 7:
        return attribute.numbers("ints")
    raise Refused(f"the attribute {short(name)} is of type {kind}, which is not read")


def shortest(value: float) -> float:
    """The shortest decimal number that is ``value`` in float32: 1e-05 for 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _check_order(nodes: list[Node], given: set[str], output: str) -> None:
    """Raises Refused unless each value is written once, and read only after that."""
    written = set(given)
    for node in nodes:
        for name in node.inputs:
            if name and name not in written:
                raise Refused(
                    f"{node} reads {short(name)}, which no earlier node writes: a cycle, or not in order"
                )
        for name in node.outputs:
            if name and name in written:
                raise Refused(f"{node} writes {short(name)}, which something else writes, too")
            written.add(name)
    if output not in written - given:
        raise Refused(f"no node writes the output {short(output)}")
