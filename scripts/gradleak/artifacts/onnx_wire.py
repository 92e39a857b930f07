"""The wire format of protocol buffers, read with limits: the fields of a message of an untrusted file.

A message is a sequence of fields, each a number, a wire type and a value. Every field counts, and so does
every number in a packed list, so that a file of 4 MB cannot keep the reader busy for long. Messages inside a
message are bytes here; ``onnx_graph`` knows which ones to open, and how deep.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradleak.artifacts import limits, onnx_limits
from gradleak.artifacts.layer_options import Refused

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
Value = int | bytes


@dataclass
class Budget:
    """left: fields and packed numbers that may still be read from a file."""

    left: int = onnx_limits.MAX_FIELDS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Refused(
                f"it has more than {onnx_limits.MAX_FIELDS} fields and numbers, which no model needs"
            )


@dataclass(frozen=True)
class Kind:
    """What is known of a message. name: in messages. once, many: number → name of the fields that it may
    have, at most once or any number of times. refused: number → why a message with this field is refused.
    """

    name: str
    once: Mapping[int, str]
    many: Mapping[int, str]
    refused: Mapping[int, str]


@dataclass(frozen=True)
class Message:
    """The fields of a message by name, each a list of (wire type, value) in the order of the file."""

    kind: Kind
    fields: dict[str, list[tuple[int, Value]]]
    budget: Budget

    def has(self, name: str) -> bool:
        return name in self.fields

    def raw(self, name: str) -> bytes:
        """The bytes of a field; none if it is not there."""
        found = self.all_raw(name)
        return found[0] if found else b""

    def all_raw(self, name: str) -> list[bytes]:
        """The bytes of each occurrence of a field."""
        return [self._bytes(name, wire, value) for wire, value in self.fields.get(name, [])]

    def number(self, name: str, default: int = 0) -> int:
        """A signed whole number."""
        for wire, value in self.fields.get(name, []):
            if wire != VARINT or isinstance(value, bytes):
                raise Refused(f"{name} of its {self.kind.name} is no whole number")
            return _signed(value)
        return default

    def real(self, name: str) -> float:
        """A number of 32 bits; 0 if it is not there."""
        for wire, value in self.fields.get(name, []):
            if wire != FIXED_32 or isinstance(value, bytes):
                raise Refused(f"{name} of its {self.kind.name} is no number of 32 bits")
            return float(struct.unpack("<f", value.to_bytes(4, "little"))[0])
        return 0.0

    def numbers(self, name: str) -> list[int]:
        """Signed whole numbers, packed or one by one."""
        found: list[int] = []
        for wire, value in self.fields.get(name, []):
            if wire == VARINT and isinstance(value, int):
                found.append(_signed(value))
                continue
            content, place = self._bytes(name, wire, value), 0
            while place < len(content):
                self.budget.spend()
                one, place = _varint(content, place)
                found.append(_signed(one))
        return found

    def reals(self, name: str, form: str = "<f") -> list[float]:
        """Numbers of 32 bits, or of ``form``, packed or one by one."""
        size, found = struct.calcsize(form), []
        for wire, value in self.fields.get(name, []):
            if isinstance(value, int) and wire == (FIXED_32 if size == 4 else FIXED_64):
                value = value.to_bytes(size, "little")
            elif wire != BYTES:
                raise Refused(f"{name} of its {self.kind.name} are no numbers of {8 * size} bits")
            if not isinstance(value, bytes) or len(value) % size:
                raise Refused(f"{name} of its {self.kind.name} is cut off")
            for place in range(0, len(value), size):
                self.budget.spend()
                found.append(float(struct.unpack_from(form, value, place)[0]))
        return found

    def text(self, name: str) -> str:
        """A name: UTF-8, printable, and short."""
        found = self.texts(name)
        return found[0] if found else ""

    def texts(self, name: str) -> list[str]:
        return [_name(content, f"{name} of its {self.kind.name}") for content in self.all_raw(name)]

    def _bytes(self, name: str, wire: int, value: Value) -> bytes:
        if wire != BYTES or not isinstance(value, bytes):
            raise Refused(f"{name} of its {self.kind.name} has another wire type than it should have")
        return value


def message(content: bytes, kind: Kind, budget: Budget) -> Message:
    """Read the fields of a message. Raises Refused for a field that ``kind`` does not have, for one that is
    given twice, and where the content is cut off.
    """
    found: dict[str, list[tuple[int, Value]]] = {}
    for number, wire, value in _fields(content, kind, budget):
        if number in kind.refused:
            raise Refused(f"its {kind.name} has {kind.refused[number]}")
        name = kind.once.get(number) or kind.many.get(number)
        if name is None:
            raise Refused(f"its {kind.name} has a field of number {number}, which is not known")
        own = found.setdefault(name, [])
        if number in kind.once and own:
            raise Refused(f"its {kind.name} gives {name} twice")
        own.append((wire, value))
    return Message(kind, found, budget)


def _fields(content: bytes, kind: Kind, budget: Budget) -> Iterator[tuple[int, int, Value]]:
    """(number, wire type, value) of each field."""
    place = 0
    while place < len(content):
        budget.spend()
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29 or wire not in (VARINT, FIXED_64, BYTES, FIXED_32):
            raise Refused(f"its {kind.name} is damaged, or no protocol buffer")
        if wire == VARINT:
            value, place = _varint(content, place)
            yield number, wire, value
            continue
        size = {FIXED_64: 8, FIXED_32: 4}.get(wire, 0)
        if wire == BYTES:
            size, place = _varint(content, place)
        if size > len(content) - place:
            raise Refused(
                f"its {kind.name} is cut off: a field of {size} bytes has {len(content) - place} bytes left"
            )
        part = content[place : place + size]
        place += size
        yield number, wire, part if wire == BYTES else int.from_bytes(part, "little")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """(a number of up to 64 bits, the place behind it)."""
    value = 0
    for index, byte in enumerate(content[place : place + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                raise Refused("a number in it has more than 64 bits")
            return value, place + index + 1
    raise Refused("a number in it is cut off, or has more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _name(content: bytes, what: str) -> str:
    if len(content) > limits.MAX_NAME:
        raise Refused(f"{what} has {len(content)} bytes, more than the limit of {limits.MAX_NAME}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Refused(f"{what} is no UTF-8") from None
    if not text.isprintable():
        raise Refused(f"{what} has characters that cannot be printed")
    return text
