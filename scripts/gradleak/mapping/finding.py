"""A finding on an update: the value, the confidence, the evidence, and the statements that it contradicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Contradiction:
    """A statement about the update that does not agree with something else.

    source: of the statement, ``metadata`` or ``settings``. stated: its value. against: what contradicts it,
    ``update``, ``settings`` or ``metadata`` (another statement there). found: the value there.
    """

    source: str
    stated: Any
    against: str
    found: Any


@dataclass(frozen=True)
class Finding:
    """value: what is used. confidence: from 0 to 1. evidence: for people alone, no program reads it.

    estimate: the value that the update itself suggests, None if it suggests none; only of findings that also
    take statements into account. rounding: relative rounding error of the number format; 0 for findings that
    are not about it. error: standard deviation of log(estimate / truth), of a scale; None without an
    estimate.
    """

    value: Any
    confidence: float
    evidence: str
    contradicts: tuple[Contradiction, ...] = ()
    estimate: Any = None
    rounding: float = 0.0
    error: float | None = None


def as_json(finding: Finding, **further: Any) -> dict[str, Any]:
    """JSON types. further: keys of this finding alone."""
    return {
        "value": finding.value,
        "confidence": finding.confidence,
        "evidence": finding.evidence,
        **further,
        "contradicts": [asdict(one) for one in finding.contradicts],
    }
