"""Tensors → variables of the model: by name, number, layer, order or shape, of Keras or PyTorch.

Where the model came as an ONNX file, the variable of each tensor is known (``artifacts.onnx_model``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.artifacts.tensors import is_counter, natural_order
from gradleak.mapping import layouts, tensor_names
from gradleak.mapping.errors import MappingError, Unmatched
from gradleak.mapping.layer_order import owners_of
from gradleak.mapping.layouts import LAYOUTS, Flattened

STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class Match:
    """keys, arrays: of each variable, by its id, in the layout of Keras. how: by what they were matched.

    layout: of the file, one of LAYOUTS. missing: paths of the variables of the model for which the file has
    no tensor, in the model's order.
    """

    keys: dict[int, str]
    arrays: dict[int, np.ndarray]
    how: str
    layout: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tensors:
    """The tensors of a file, the trainable variables, all variables of the model, and what it flattens.

    known: key → ``layer/kernel`` of tensors in PyTorch's layout; empty if it has to be found out.
    """

    arrays: dict[str, np.ndarray]
    variables: list
    everything: list
    flat: Flattened
    known: Mapping[str, str]

    def candidates(self, variable: Any, layout: str) -> list[str]:
        """The keys that a variable's shape allows."""
        return [key for key, array in self.arrays.items() if layouts.fits(array, variable, layout)]


@dataclass(frozen=True)
class Pairing:
    """keys: variable's id → key. how: the evidence."""

    keys: dict[int, str]
    how: str


def assigned(found: Match, variables: list) -> tuple[list[np.ndarray], list[dict]]:
    """Arrays in the order of ``variables``, and one row a variable: variable, shape, key, matched by."""
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
    flat: Flattened | None = None,
    known: Mapping[str, str] | None = None,
) -> Match:
    """Match ``variables`` (the trainable ones), and those of ``everything`` that the file has too.

    The order of the file is evidence only where it is not that of the alphabet: safetensors and some writers
    of npz sort the names. ``known`` is used instead of any evidence. Raises MappingError if there is no
    match, or more than one.
    """
    weights = {key: a for key, a in arrays.items() if a.ndim and not is_counter(key, a)}
    tensors = Tensors(weights, variables, everything, flat or Flattened(), known or {})
    try:
        return _matched(tensors)
    except Unmatched as error:
        raise MappingError(f"{what}: {error}") from None


def _matched(tensors: Tensors) -> Match:
    """By the first strategy that finds something."""
    if not tensors.variables:
        raise Unmatched("no layer of the model is trainable, so no update belongs to it")
    if tensors.known:
        return _made(tensors, _by_export(tensors), "torch")
    strategies: tuple[Callable, ...] = (_by_name, _by_number, _by_layer, _by_order, _by_shape)
    for strategy in strategies:
        found: dict[str, Pairing] = {}
        reasons: list[Unmatched] = []
        for layout in LAYOUTS:
            try:
                pairing = strategy(tensors, layout)
            except Unmatched as error:
                reasons.append(error)
                continue
            if pairing:
                found[layout] = pairing
        if found:
            layout = _layout(tensors, found)
            return _made(tensors, found[layout], layout)
        if reasons:
            raise reasons[0]
    raise Unmatched(_no_fit(tensors))


def _layout(tensors: Tensors, found: dict[str, Pairing]) -> str:
    """Keras's or PyTorch's, where the shapes fit both."""
    if len(found) == 1:
        return next(iter(found))
    both = [_in_keras(tensors, found[layout], layout) for layout in LAYOUTS]
    if both[0].keys() == both[1].keys() and all(np.array_equal(both[0][i], both[1][i]) for i in both[0]):
        return "keras"
    named = tensor_names.layout_of(tensors.arrays)
    if named is None:
        raise Unmatched(
            "every kernel is square, so it could be Keras's layout or PyTorch's; "
            "name the tensors as Keras does (layer/kernel) or as PyTorch does (layer.weight)"
        )
    return named


def _made(tensors: Tensors, pairing: Pairing, layout: str) -> Match:
    if layout == "torch" and tensors.flat.unordered:
        raise Unmatched(
            "the tensors are in PyTorch's layout, and the order in which PyTorch has the elements at layer "
            f"{', '.join(tensors.flat.unordered)} is not known; save the tensors in Keras's layout"
        )
    how = pairing.how if layout == "keras" else f"{pairing.how}, converted from PyTorch's layout"
    arrays = _in_keras(tensors, pairing, layout)
    missing = tuple(v.path for v in tensors.everything if id(v) not in arrays)
    return Match(pairing.keys, arrays, how, layout, missing)


def _in_keras(tensors: Tensors, pairing: Pairing, layout: str) -> dict[int, np.ndarray]:
    return {
        id(v): layouts.to_keras(
            tensors.arrays[pairing.keys[id(v)]], v, layout, tensors.flat.orders.get(id(v))
        )
        for v in tensors.everything
        if id(v) in pairing.keys
    }


# --- ways to match ------------------------------------------------------------------------------------------


def _by_export(tensors: Tensors) -> Pairing:
    """The variables that the ONNX file gives for the keys of the state dict."""
    owners = {"/".join(variable.path.split("/")[-2:]): variable for variable in tensors.everything}
    keys: dict[int, str] = {}
    for key, array in tensors.arrays.items():
        variable = owners.get(tensors.known.get(key, ""))
        if variable is None or id(variable) in keys:
            raise Unmatched(f"{key} has no variable of its own in the ONNX file")
        if not layouts.fits(array, variable, "torch"):
            raise Unmatched(f"{key} has shape {array.shape}, {variable.path} needs {tuple(variable.shape)}")
        keys[id(variable)] = key
    missing = [variable.path for variable in tensors.variables if id(variable) not in keys]
    if missing:
        raise Unmatched(f"no tensor is {missing[0]}")
    return Pairing(keys, "ONNX file")


def _wanted(tensors: Tensors) -> list[list]:
    """The sets of variables, of as many as the file has tensors, that a file may hold.

    Those that are trained; all; all parameters, that is, all without the moving statistics, as
    ``parameters()`` of PyTorch; all of the layers that are trained; all, those that are trained first, as
    ``trainable_variables + non_trainable_variables``.
    """
    trained = {id(v) for v in tensors.variables}
    layers = {_layer(v) for v in tensors.variables}
    parameters = [v for v in tensors.everything if not is_statistic(v)]
    of_layers = [
        v for v in tensors.everything if id(v) in trained or (is_statistic(v) and _layer(v) in layers)
    ]
    trained_first = sorted(tensors.everything, key=lambda v: id(v) not in trained)
    sets = [tensors.variables, tensors.everything, parameters, of_layers, trained_first]
    return [one for one in sets if len(one) == len(tensors.arrays)]


def _by_name(tensors: Tensors, layout: str) -> Pairing | None:
    """Layers of the same names. A tensor of another shape is no reason to go by anything else."""
    names = {key: tensor_names.parts(key) for key in tensors.arrays}
    found: dict[int, str] = {}
    for variable in tensors.everything:
        hits = [key for key, name in names.items() if _is_name_of(name, variable.path)]
        if len(hits) == 1:
            found[id(variable)] = hits[0]
    if len(set(found.values())) < max(len(found), len(tensors.arrays)):
        return None
    if any(id(v) not in found for v in tensors.variables):
        return None
    named = [v for v in tensors.everything if id(v) in found]
    misfits = {
        one: [v for v in named if not layouts.fits(tensors.arrays[found[id(v)]], v, one)] for one in LAYOUTS
    }
    if all(misfits.values()):
        variable = min(misfits.values(), key=len)[0]
        key = found[id(variable)]
        raise Unmatched(
            f"{key} has shape {tensors.arrays[key].shape}, {variable.path} needs {tuple(variable.shape)}"
        )
    return None if misfits[layout] else Pairing(found, "name")


def _is_name_of(name: tuple[str, ...], path: str) -> bool:
    """Whether the name is the end of a variable's path, or ends in it."""
    *layer, variable = path.replace(".", "/").split("/")
    *own, role = name
    if role != variable and variable not in tensor_names.ROLES.get(role.lower(), ()):
        return False
    size = min(len(layer), len(own))
    return layer[len(layer) - size :] == own[len(own) - size :]


def _by_number(tensors: Tensors, layout: str) -> Pairing | None:
    """Keys that differ in numbers alone are the order of the variables."""
    keys = list(tensors.arrays)
    if not tensor_names.are_numbered(keys):
        return None
    return _in_order(tensors, sorted(keys, key=natural_order), layout)


def _by_order(tensors: Tensors, layout: str) -> Pairing | None:
    """The order of the file, unless it is the alphabet's, or numbers contradict it."""
    keys = list(tensors.arrays)
    if tensor_names.is_sorted(keys) or tensor_names.are_numbered(keys):
        return None
    return _in_order(tensors, keys, layout)


def _in_order(tensors: Tensors, order: list[str], layout: str) -> Pairing | None:
    for wanted in _wanted(tensors):
        pairs = list(zip(wanted, order, strict=True))
        if all(layouts.fits(tensors.arrays[key], v, layout) for v, key in pairs):
            return Pairing({id(v): key for v, key in pairs}, "order")
    return None


def _by_shape(tensors: Tensors, layout: str) -> Pairing | None:
    """Every tensor and every variable has one counterpart."""
    for wanted in _wanted(tensors):
        options = {id(v): tensors.candidates(v, layout) for v in wanted}
        if all(len(keys) == 1 for keys in options.values()):
            return Pairing({i: keys[0] for i, keys in options.items()}, "shape")
    return None


def _by_layer(tensors: Tensors, layout: str) -> Pairing | None:
    """Tensors with the same prefix are one layer. Layers are matched as a whole, by their shapes."""
    groups = tensor_names.layers(tensors.arrays)
    if groups is None:
        return None
    for wanted in _wanted(tensors):
        layers: dict[str, list] = {}
        for variable in wanted:
            layers.setdefault(_layer(variable), []).append(variable)
        fits = {
            group: [name for name, own in layers.items() if _pairs(tensors, roles, own, layout)]
            for group, roles in groups.items()
        }
        if not all(fits.values()):
            continue
        owners, how = owners_of(fits, list(layers))
        keys: dict[int, str] = {}
        for group, layer in owners.items():
            keys |= _pairs(tensors, groups[group], layers[layer], layout)
        if len(keys) == len(wanted):
            return Pairing(keys, how)
    return None


def _pairs(tensors: Tensors, roles: dict[str, str], own: list, layout: str) -> dict[int, str]:
    """id → key of a layer's variables; empty if the tensors are not this layer's."""
    found: dict[int, str] = {}
    for role, key in roles.items():
        if role.isdecimal():
            hits = own[int(role) : int(role) + 1]
        else:
            hits = [v for v in own if _role(v) in tensor_names.ROLES[role]]
        if len(hits) != 1 or not layouts.fits(tensors.arrays[key], hits[0], layout):
            return {}
        found[id(hits[0])] = key
    return found if len(found) == len(roles) == len(own) else {}


def is_statistic(variable: Any) -> bool:
    """Whether a variable is a moving statistic, which no gradient changes."""
    return _role(variable) in STATISTICS


def _layer(variable: Any) -> str:
    return variable.path.split("/")[-2]


def _role(variable: Any) -> str:
    return variable.path.rpartition("/")[2]


def _no_fit(tensors: Tensors) -> str:
    """The variable without a tensor, else the first one with several, and the tensors that fit nothing."""
    found = {
        layout: [tensors.candidates(v, layout) for v in tensors.variables] for layout in reversed(LAYOUTS)
    }
    layout = max(reversed(LAYOUTS), key=lambda one: sum(bool(keys) for keys in found[one]))
    options = found[layout]
    without = [i for i, keys in enumerate(options) if not keys]
    several = [i for i, keys in enumerate(options) if len(keys) > 1]
    index = (without or several or [0])[0]
    variable, fits = tensors.variables[index], options[index]
    advice = "; name the tensors, or save them in the model's order" if len(fits) > 1 else ""
    known = {key for v in tensors.everything for key in tensors.candidates(v, layout)}
    odd = [f"{key} {a.shape}" for key, a in tensors.arrays.items() if key not in known]
    strange = f"; no variable has the shape of {', '.join(odd[:10])}" if odd else ""
    return (
        f"{len(fits) or 'no'} tensor{'s' if fits else ''} could be {variable.path} "
        f"{tuple(variable.shape)}{advice}{strange}; the file has "
        + ", ".join(f"{key} {a.shape}" for key, a in list(tensors.arrays.items())[:40])
    )
