"""How many images are behind an update: stated by the user or the metadata, and checked against the rank."""

from __future__ import annotations

from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.metadata import images
from gradleak.mapping.ranks import is_refuted, widest

SURE = 0.9  # confidence of a number that the metadata state as such


def find_samples(claimed: int | None, meta: dict, ranks: list[dict], optimizer: str) -> Finding:
    """The number of images. claimed: by the user. meta: untrusted. ranks: rows of ``ranks.rank_kernels``.

    Raises MappingError if the number is not stated, since the rank gives a lower bound only.
    """
    in_metadata, confidence = images(meta)
    number = claimed or in_metadata
    if number is None:
        raise MappingError(
            f"the number of images behind the update is not known ({_stated(meta)}; "
            f"{_bound(ranks, UNKNOWN)}): set `samples` on the target, or state `samples` in the metadata"
        )
    source, contradicts = "settings" if claimed else "metadata", []
    kernel = widest(ranks)
    if kernel and is_refuted(ranks, number, meta.get("local_steps", 1), optimizer):
        contradicts.append(Contradiction(source, number, "update", max(kernel["ranks"])))
    if claimed and in_metadata and confidence >= SURE and in_metadata != claimed:
        contradicts.append(Contradiction("metadata", in_metadata, "settings", claimed))
    return Finding(
        number,
        1.0 if claimed else confidence,
        f"{'target settings' if claimed else _stated(meta)}; {_bound(ranks, optimizer)}",
        tuple(contradicts),
    )


def _stated(meta: dict) -> str:
    """What the metadata state about the number of images."""
    parts = [
        f"{name} {'unclear' if meta[name] is None else meta[name]}"
        for name in ("samples", "batch_size", "local_steps", "local_epochs")
        if name in meta
    ]
    return f"metadata: {', '.join(parts) or 'no samples'}"


def _bound(ranks: list[dict], optimizer: str) -> str:
    kernel = widest(ranks)
    if kernel is None or optimizer == "adam":
        return "the rank gives no lower bound"
    rank = max(kernel["ranks"])
    more = " or more" if rank >= kernel["full"] else ""
    return f"by the rank of {kernel['variable']}, images × steps are at least {rank}{more}"
