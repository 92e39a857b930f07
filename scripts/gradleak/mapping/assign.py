"""Tensors → variables of the model: by name, order, layer or shape, in Keras's or PyTorch's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.artifacts.tensors import natural_order
from gradleak.mapping.errors import MappingError

COUNTERS = ("num_batches_tracked",)  # tensors of PyTorch that are no weights
LAYOUTS = ("keras", "torch")


@dataclass(frozen=True)
class Match:
    """keys, arrays: of each variable, by its id, in the layout of Keras. how: by what they were matched.

    layout: of the file, one of LAYOUTS.
    """

    keys: dict[int, str]
    arrays: dict[int, np.ndarray]
    how: str
    layout: str


def assign_tensors(
    arrays: dict[str, np.ndarray],
    variables: list,
    everything: list,
    what: str,
    flat: dict[int, tuple] | None = None,
) -> tuple[list[np.ndarray], list[dict]]:
    """Arrays in the order of ``variables``, and one row a variable: variable, shape, key, matched by."""
    found = match(arrays, variables, everything, what, flat)
    rows = [
        {"variable": v.path, "shape": list(v.shape), "key": found.keys[id(v)], "matched_by": found.how}
        for v in variables
    ]
    return [found.arrays[id(v)] for v in variables], rows


def match(
    arrays: dict[str, np.ndarray],
    variables: list,
    everything: list,
    what: str,
    flat: dict[int, tuple] | None = None,
) -> Match:
    """Match ``variables`` (the trainable ones), and all of ``everything`` if the file has them too.

    flat: id of a dense kernel → (H, W, C) of the image that is flattened before it, since PyTorch flattens in
    another order. Raises MappingError if there is no match, or more than one.
    """
    arrays = {key: a for key, a in arrays.items() if not key.endswith(COUNTERS)}
    flat = flat or {}
    by_name = _by_name(arrays, everything)
    if all(id(v) in by_name for v in variables):
        for v in variables:
            if arrays[by_name[id(v)]].shape != tuple(v.shape):
                key = by_name[id(v)]
                raise MappingError(
                    f"{what}: {key} has shape {arrays[key].shape}, {v.path} needs {tuple(v.shape)}"
                )
        return _made(arrays, by_name, "keras", "name", everything, flat)
    for wanted, suffix in ((variables, ""), (everything, " in all weights")):
        found = _by_order(arrays, wanted, what, suffix, everything, flat)
        if found:
            return found
    for layout in LAYOUTS:
        for wanted in (everything, variables):
            keys = _by_layer(arrays, wanted, layout) or _by_shape(arrays, wanted, layout)
            if keys and all(id(v) in keys for v in variables):
                return _made(arrays, keys, layout, "shape", everything, flat)
    raise MappingError(_no_fit(arrays, variables, what))


def _by_name(arrays: dict[str, np.ndarray], everything: list) -> dict[int, str]:
    names = {key: key.removesuffix(":0").strip("/") for key in arrays}
    found = {}
    for variable in everything:
        hits = [k for k in arrays if names[k] == variable.path or variable.path.endswith("/" + names[k])]
        if len(hits) == 1:
            found[id(variable)] = hits[0]
    return found if len(set(found.values())) == len(found) else {}


def _by_order(
    arrays: dict[str, np.ndarray], wanted: list, what: str, suffix: str, everything: list, flat: dict
) -> Match | None:
    """In the archive's order, or in the natural order of its keys. Numbered keys are the order themselves."""
    archive, sorted_keys = list(arrays), sorted(arrays, key=natural_order)
    numbered = all(key.startswith("arr_") for key in archive)
    for order, how in (
        ((sorted_keys, "order"), (archive, "order"))
        if numbered
        else ((archive, "order"), (sorted_keys, "order of names"))
    ):
        layouts = [x for x in LAYOUTS if _fit(arrays, order, wanted, x)]
        if (
            len(layouts) == 2
            and any(a.ndim > 1 for a in arrays.values())
            and not _alike(arrays, order, wanted)
        ):
            hints = {key.rpartition("/")[2].rpartition(".")[2].split(":")[0] for key in order}
            layouts = (
                ["torch"] if "weight" in hints else ["keras"] if "kernel" in hints or numbered else layouts
            )
            if len(layouts) == 2:
                raise MappingError(
                    f"{what}: every kernel is square, so it could be Keras's layout or PyTorch's; "
                    "name the tensors as Keras does (layer/kernel) or as PyTorch does (layer.weight)"
                )
        if layouts:
            keys = {id(v): key for v, key in zip(wanted, order, strict=True)}
            return _made(arrays, keys, layouts[0], how + suffix, everything, flat)
    return None


def _alike(arrays: dict, order: Sequence[str], wanted: list) -> bool:
    """Whether the two layouts give the same arrays (only 1 × 1 kernels and vectors)."""
    return all(np.array_equal(_turned(arrays[k], "torch", None), arrays[k]) for k, v in zip(order, wanted))


def _fit(arrays: dict, order: Sequence[str], wanted: list, layout: str) -> bool:
    return len(order) == len(wanted) and all(
        _shape(arrays[k], layout) == tuple(v.shape) for k, v in zip(order, wanted)
    )


def _shape(array: np.ndarray, layout: str) -> tuple[int, ...]:
    """The shape in Keras's layout of an array in ``layout``."""
    s = array.shape
    if layout == "keras" or len(s) not in (2, 4):
        return s
    return s[::-1] if len(s) == 2 else (s[2], s[3], s[1], s[0])


def _turned(array: np.ndarray, layout: str, image: tuple | None) -> np.ndarray:
    """``array`` in Keras's layout. image: (H, W, C) where it reads a flattened one."""
    if layout == "keras" or array.ndim not in (2, 4):
        return array
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    if image:
        height, width, channels = image
        array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(array), -1)
    return np.ascontiguousarray(array.T)


def _by_layer(arrays: dict, wanted: list, layout: str) -> dict[int, str] | None:
    """Tensors with the same prefix are one layer. Layers are matched as a whole, by their kernel's shape."""
    if len(arrays) != len(wanted):
        return None
    groups: dict[str, list[str]] = {}
    for key in arrays:
        name = key.removesuffix(":0")
        place = max(name.rfind("."), name.rfind("/"))
        groups.setdefault(name[:place] if place >= 0 else name, []).append(key)
    layers: dict[str, list] = {}
    for variable in wanted:
        layers.setdefault(variable.path.rpartition("/")[0], []).append(variable)
    found: dict[int, str] = {}
    for own in layers.values():
        shapes = [tuple(v.shape) for v in own]
        if len(set(shapes)) != len(shapes):
            return None
        fits = [
            keys
            for keys in groups.values()
            if sorted(_shape(arrays[k], layout) for k in keys) == sorted(shapes)
        ]
        if len(fits) != 1:
            return None
        by_shape = {_shape(arrays[k], layout): k for k in fits[0]}
        found |= {id(v): by_shape[tuple(v.shape)] for v in own}
    return found if len(set(found.values())) == len(found) else None


def _by_shape(arrays: dict, wanted: list, layout: str) -> dict[int, str] | None:
    options = [[k for k in arrays if _shape(arrays[k], layout) == tuple(v.shape)] for v in wanted]
    if not all(len(fits) == 1 for fits in options):
        return None
    return {id(v): fits[0] for v, fits in zip(wanted, options)}


def _made(arrays: dict, keys: dict[int, str], layout: str, how: str, everything: list, flat: dict) -> Match:
    kernels = {id(v) for v in everything}
    turned = {i: _turned(arrays[k], layout, flat.get(i)) for i, k in keys.items() if i in kernels}
    how = how if layout == "keras" else f"{how}, converted from PyTorch's layout"
    return Match(keys, turned, how, layout)


def _no_fit(arrays: dict[str, Any], variables: list, what: str) -> str:
    options = [[k for k in arrays if arrays[k].shape == tuple(v.shape)] for v in variables]
    turned = [[k for k in arrays if _shape(arrays[k], "torch") == tuple(v.shape)] for v in variables]
    if sum(map(bool, turned)) > sum(map(bool, options)):
        options = turned
    index = next((i for i, fits in enumerate(options) if len(fits) != 1), 0)
    fits = options[index]
    several = "; name the tensors, or save them in the model's order" if len(fits) > 1 else ""
    return (
        f"{what}: {len(fits) or 'no'} tensor{'s' if fits else ''} could be {variables[index].path} "
        f"{tuple(variables[index].shape)}{several}; the file has "
        + ", ".join(f"{k} {a.shape}" for k, a in list(arrays.items())[:40])
    )
