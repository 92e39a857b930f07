"""How many images are behind an update: stated by the user or the metadata, and checked against the rank."""

from __future__ import annotations

from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.metadata import images
from gradleak.mapping.ranks import Bound, is_refuted

SURE = 0.9  # confidence of a number that the metadata state as such


def find_samples(claimed: int | None, meta: dict, bound: Bound | None) -> Finding:
    """The number of images. claimed: by the user. meta: of
    ``Metadata.values``. bound: on images × steps, by the rank.

    The finding's estimate is the bound on images × steps, or None. Raises MappingError if the number is not
    stated, since the rank gives a lower bound only.
    """
    in_metadata, confidence = images(meta)
    number = claimed or in_metadata
    if number is None:
        raise MappingError(
            f"the number of images behind the update is not known ({_stated(meta)}; {_text(bound)}): "
            "set `samples` on the target, or state `samples` in the metadata"
        )
    source, contradicts = "settings" if claimed else "metadata", []
    if bound and is_refuted(bound, number, meta.get("local_steps")):
        contradicts.append(Contradiction(source, number, "update", bound.rank))
    if claimed and in_metadata and confidence >= SURE and in_metadata != claimed:
        contradicts.append(Contradiction("metadata", in_metadata, "settings", claimed))
    return Finding(
        number,
        1.0 if claimed else confidence,
        f"{'target settings' if claimed else _stated(meta)}; {_text(bound)}",
        tuple(contradicts),
        bound.rank if bound else None,
    )


def _stated(meta: dict) -> str:
    """What the metadata state about the number of images."""
    parts = [
        f"{name} {'unclear' if meta[name] is None else meta[name]}"
        for name in ("samples", "batch_size", "local_steps", "local_epochs")
        if name in meta
    ]
    return f"metadata: {', '.join(parts) or 'no samples'}"


def _text(bound: Bound | None) -> str:
    if bound is None:
        return "the rank gives no lower bound"
    return f"by the rank of {bound.variable}, images × local steps are at least {bound.rank}"
