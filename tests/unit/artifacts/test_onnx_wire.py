"""The wire format: numbers of all lengths, packed or not, and what a message may not have."""

import struct

import onnx_writer as w
import pytest

from gradleak.artifacts import onnx_limits
from gradleak.artifacts.layer_options import Refused
from gradleak.artifacts.onnx_wire import Budget, Kind, message

KIND = Kind("thing", {1: "size", 2: "name", 3: "rate"}, {4: "sizes", 5: "rates"}, {6: "an explosive"})


def read(content):
    return message(content, KIND, Budget())


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)])
def test_numbers(number):
    assert read(w.field(1, number)).number("size") == number
    packed = w.varint(number) + w.varint(5)
    assert read(w.field(4, number) + w.field(4, packed) + w.field(4, 7)).numbers("sizes") == [
        number,
        number,
        5,
        7,
    ]


def test_real_numbers_texts_and_what_is_not_there():
    found = read(w.field(3, 0.5) + w.field(2, "ä") + w.field(5, 1.5) + w.field(5, struct.pack("<2f", 2, 3)))
    assert (found.real("rate"), found.text("name"), found.reals("rates")) == (0.5, "ä", [1.5, 2.0, 3.0])
    empty = read(b"")
    assert (empty.real("rate"), empty.text("name"), empty.numbers("sizes"), empty.number("size")) == (
        0.0,
        "",
        [],
        0,
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (w.field(1, 1) * 2, "gives size twice"),
        (w.field(6, 1), "has an explosive"),
        (w.field(7, 1), "number 7, which is not known"),
        (w.field(2, "name")[:-1], "cut off"),
        (b"\x0b", "damaged"),
    ],
)
def test_what_a_message_may_not_have(content, reason):
    with pytest.raises(Refused, match=reason):
        read(content)


def test_every_packed_number_counts():
    budget = Budget()
    assert len(message(w.field(4, b"\1" * 1000), KIND, budget).numbers("sizes")) == 1000
    assert budget.left == onnx_limits.MAX_FIELDS - 1001
    with pytest.raises(Refused, match="more than"):
        message(w.field(4, b"\1" * onnx_limits.MAX_FIELDS), KIND, Budget()).numbers("sizes")
