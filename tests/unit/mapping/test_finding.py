"""Findings in JSON, and the lines about contradictions that follow from them."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from gradleak.mapping.finding import Contradiction, Finding, as_json
from gradleak.mapping.findings import Findings, contradictions
from gradleak.mapping.ranks import Ranks

PLAIN = Finding("sgd", 0.9, "evidence")
NONE = Findings(*[PLAIN] * 6, None, PLAIN, [], Ranks({}, {}, []), None)


def test_a_finding_is_frozen():
    with pytest.raises(FrozenInstanceError):
        PLAIN.value = "adam"


def test_json_has_the_value_the_evidence_and_the_contradictions():
    found = replace(PLAIN, contradicts=(Contradiction("metadata", "adam", "update", "sgd"),), estimate=3.0)
    written = as_json(found, estimate=found.estimate)
    assert json.loads(json.dumps(written)) == {
        "value": "sgd",
        "confidence": 0.9,
        "evidence": "evidence",
        "estimate": 3.0,
        "contradicts": [{"source": "metadata", "stated": "adam", "against": "update", "found": "sgd"}],
    }


def test_without_contradictions_there_are_no_lines():
    assert contradictions(NONE) == []


@pytest.mark.parametrize(
    ("name", "contradiction", "line"),
    [
        (
            "optimizer",
            ("metadata", "adam", "update", "sgd"),
            "the metadata say adam, the update looks like sgd",
        ),
        ("scale", ("metadata", 5.0, "update", 0.05), "the metadata give 5, the update suggests 0.05"),
        ("samples", ("settings", 2, "update", 8), "2 images were stated, the rank refutes it"),
        ("samples", ("metadata", 9, "settings", 8), "the settings say 8, the metadata 9"),
    ],
)
def test_lines_follow_from_the_field_and_not_from_the_evidence(name, contradiction, line):
    misleading = Finding("x", 0.5, "refuted, they contradict each other")
    assert contradictions(replace(NONE, **{name: misleading})) == []
    found = replace(PLAIN, contradicts=(Contradiction(*contradiction),))
    assert contradictions(replace(NONE, **{name: found})) == [f"{name}: {line}"]
