"""A small writer of ONNX files, right and wrong ones: the wire format of protocol buffers and the fields of
onnx.proto.
"""

import struct

FLOAT, INT64 = 1, 7


def varint(number):
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(number, value):
    """An integer as a varint, a float in 32 bits, bytes and text with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(number, values):
    return b"".join(field(number, value) for value in values)


def tensor(name, dims, raw=b"", kind=FLOAT, more=b""):
    """With one dim a field, as PyTorch writes them."""
    return fields(1, dims) + field(2, kind) + field(8, name) + (field(9, raw) if raw else b"") + more


def integers(name, *values):
    return tensor(name, [len(values)], struct.pack(f"<{len(values)}q", *values), INT64)


def value(name, dims, kind=FLOAT):
    """An input or output. A dim is a number, or a text if it is free."""
    sizes = b"".join(field(1, field(1 if isinstance(dim, int) else 2, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def attribute(name, given, more=b""):
    """Of the type of ``given``: a float, an integer, a text, a tensor (bytes), or a list of numbers."""
    if isinstance(given, float):
        content = field(2, given) + field(20, 1)
    elif isinstance(given, int):
        content = field(3, given) + field(20, 2)
    elif isinstance(given, str):
        content = field(4, given) + field(20, 3)
    elif isinstance(given, bytes):
        content = field(5, given) + field(20, 4)
    else:
        content = fields(8, given) + field(20, 7)
    return field(1, name) + content + more


def node(op, inputs, outputs, more=b"", **attributes):
    found = fields(1, inputs) + fields(2, outputs) + field(4, op)
    return found + fields(5, [attribute(name, given) for name, given in attributes.items()]) + more


def graph(nodes, inputs, outputs, initial=(), more=b""):
    found = fields(1, nodes) + field(2, "main_graph") + fields(5, initial)
    return found + fields(11, inputs) + fields(12, outputs) + more


def opset(version=17, domain=""):
    return field(8, (field(1, domain) if domain else b"") + field(2, version))


def model(content, opsets=None, more=b""):
    """A file. content: of its graph. opsets, more: further fields."""
    head = field(1, 8) + field(2, "pytorch") + field(3, "2.14.1")
    return head + field(7, content) + (opset() if opsets is None else opsets) + more
