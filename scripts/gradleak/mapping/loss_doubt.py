"""What a mapping leaves open about the client's loss. Apart from how it is found, which no attack reads."""

from __future__ import annotations

from typing import Any

from gradleak.losses import loss_named


def doubt_of(report: dict[str, Any], loss: str) -> str:
    """What is not known about the client's loss, or ''. report: mapping.json. loss: the text of ``Loss`` that
    attacks use.
    """
    if report["smoothing"]["value"] and not loss_named(loss).smoothing:
        return "the client smoothed its labels"
    if report["loss"]["confidence"] == 0:
        return "the client's loss is another one, since the sums over the classes are not zero: state `loss`"
    return ""
