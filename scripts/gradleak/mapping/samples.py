"""How many images are behind an update: stated by the user or the metadata, and checked against the rank."""

from __future__ import annotations

from typing import Any

from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.ranks import Bound, is_refuted


def find_samples(claimed: int | None, meta: dict, bound: Bound | None) -> Finding:
    """The number of images. claimed: by the user. meta: untrusted. bound: on images × steps, by the rank.

    The finding's estimate is the bound on images × steps, or None. Raises MappingError if the number is not
    stated, since the rank gives a lower bound only.
    """
    in_metadata = meta.get("samples") or meta.get("batch_size")
    number = count(claimed or in_metadata)
    if number is None:
        raise MappingError(
            "the number of images behind the update is not known "
            f"({_text(bound)}): set `samples` on the target"
        )
    source, contradicts = "settings" if claimed else "metadata", []
    if bound and is_refuted(bound, number, meta.get("local_steps")):
        contradicts.append(Contradiction(source, number, "update", bound.rank))
    if claimed and _is_whole(in_metadata) and in_metadata != claimed:
        contradicts.append(Contradiction("metadata", in_metadata, "settings", claimed))
    return Finding(
        number,
        1.0 if claimed else 0.9,
        f"{'target settings' if claimed else 'metadata'}; {_text(bound)}",
        tuple(contradicts),
        bound.rank if bound else None,
    )


def count(stated: Any) -> int | None:
    """A number of things from untrusted metadata; None if it cannot be one."""
    return stated if _is_whole(stated) and 1 <= stated < 1 << 31 else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(bound: Bound | None) -> str:
    if bound is None:
        return "the rank gives no lower bound"
    return f"by the rank of {bound.variable}, images × local steps are at least {bound.rank}"
