"""Layers of a file → layers of the model, by their shapes, and by names or order where shapes are equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from gradleak.artifacts.tensors import natural_order
from gradleak.mapping import tensor_names
from gradleak.mapping.errors import Unmatched

Candidates = dict[str, list[str]]  # layer of the file → the layers of the model of its shapes


def owners_of(candidates: Candidates, layers: list[str]) -> tuple[dict[str, str], str]:
    """Layer of the model of each layer of the file, and the evidence: shape, order of names, or order.

    candidates: in the order of the file. layers: in the order of the model. Layers of equal shapes go by the
    numbers in their names, else by the order of the file if it is not the alphabet's. Raises Unmatched if
    neither is evidence, or if it contradicts the layers that the shapes tell.
    """
    candidates = _of_same_names(candidates, layers)
    owners = _by_shapes(candidates)
    taken = set(owners.values())
    equal: dict[tuple[str, ...], list[str]] = {}
    for one, own in candidates.items():
        if one not in owners:
            equal.setdefault(tuple(layer for layer in own if layer not in taken), []).append(one)
    if not equal:
        return owners, "shape"
    numbered = all(_are_numbered(ones) for ones in equal.values())
    ordered = numbered or not tensor_names.is_sorted(list(candidates))
    for layers_left, ones in equal.items():
        if not ordered or len(ones) != len(layers_left):
            raise _ambiguous(ones, layers_left)
        owners |= dict(zip(sorted(ones, key=natural_order) if numbered else ones, layers_left, strict=True))
    places = {one: layers.index(owner) for one, owner in owners.items()}
    if _is_contradicted(
        sorted(places, key=natural_order) if numbered else list(candidates), places, numbered
    ):
        layers_left, ones = next(iter(equal.items()))
        raise _ambiguous(ones, layers_left)
    return owners, "order of names" if numbered else "order"


def _of_same_names(candidates: Candidates, layers: list[str]) -> Candidates:
    """Only the candidate of the same name, where all names are the model's."""
    names = {one: one.rpartition(".")[2] for one in candidates}
    if len(set(names.values())) < len(names) or not set(names.values()) <= set(layers):
        return candidates
    return {one: [names[one]] if names[one] in own else own for one, own in candidates.items()}


def _by_shapes(candidates: Candidates) -> dict[str, str]:
    """The owners that follow from the shapes alone, as each layer has at most one."""
    owners: dict[str, str] = {}
    while True:
        taken = set(owners.values())
        left = {
            one: [layer for layer in own if layer not in taken]
            for one, own in candidates.items()
            if one not in owners
        }
        single = next((one for one, own in left.items() if len(own) == 1), None)
        if single is None:
            return owners
        owners[single] = left[single][0]


def _are_numbered(ones: list[str]) -> bool:
    """Whether numbers order the names."""
    pairs = itertools.pairwise(sorted(ones, key=natural_order))
    return all(tensor_names.by_number(one, other) for one, other in pairs)


def _is_contradicted(order: list[str], places: dict[str, int], numbered: bool) -> bool:
    """Whether layers come in another order in the model. numbered: only numbers say which comes first."""
    return any(
        places[one] > places[other]
        for one, other in itertools.pairwise(order)
        if not numbered or tensor_names.by_number(one, other)
    )


def _ambiguous(ones: list[str], own: Iterable[str]) -> Unmatched:
    return Unmatched(
        f"{', '.join(ones)} could each be layer {' or '.join(own)}, and neither the names nor the "
        "order of the file tell which; name the tensors as the model's layers (layer/kernel), or number them"
    )
