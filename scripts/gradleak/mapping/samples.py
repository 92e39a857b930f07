"""How many images are behind an update: stated by the user or the metadata, and checked against the rank."""

from __future__ import annotations

from typing import Any

from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import UNKNOWN, Contradiction, Finding
from gradleak.mapping.ranks import is_refuted, widest


def find_samples(claimed: int | None, meta: dict, ranks: list[dict], optimizer: str) -> Finding:
    """The number of images. claimed: by the user. meta: untrusted. ranks: rows of ``ranks.rank_kernels``.

    Raises MappingError if the number is not stated, since the rank gives a lower bound only.
    """
    in_metadata = meta.get("samples") or meta.get("batch_size")
    number = count(claimed or in_metadata)
    if number is None:
        raise MappingError(
            "the number of images behind the update is not known "
            f"({_bound(ranks, UNKNOWN)}): set `samples` on the target"
        )
    source, contradicts = "settings" if claimed else "metadata", []
    kernel = widest(ranks)
    if kernel and is_refuted(ranks, number, meta.get("local_steps", 1), optimizer):
        contradicts.append(Contradiction(source, number, "update", max(kernel["ranks"])))
    if claimed and _is_whole(in_metadata) and in_metadata != claimed:
        contradicts.append(Contradiction("metadata", in_metadata, "settings", claimed))
    return Finding(
        number,
        1.0 if claimed else 0.9,
        f"{'target settings' if claimed else 'metadata'}; {_bound(ranks, optimizer)}",
        tuple(contradicts),
    )


def count(stated: Any) -> int | None:
    """A number of things from untrusted metadata; None if it cannot be one."""
    return stated if _is_whole(stated) and 1 <= stated < 1 << 31 else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bound(ranks: list[dict], optimizer: str) -> str:
    kernel = widest(ranks)
    if kernel is None or optimizer == "adam":
        return "the rank gives no lower bound"
    rank = max(kernel["ranks"])
    more = " or more" if rank >= kernel["full"] else ""
    return f"by the rank of {kernel['variable']}, images × steps are at least {rank}{more}"
