"""Names of tensors → layer and role, as Keras, PyTorch and plain lists of tensors write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gradleak.artifacts.tensors import natural_order

# The last part of a name → the variables of Keras that it may stand for.
ROLES: dict[str, tuple[str, ...]] = {
    "kernel": ("kernel",),
    "bias": ("bias", "beta"),
    "weight": ("kernel", "gamma", "alpha"),
    "weights": ("kernel", "gamma", "alpha"),
    "biases": ("bias", "beta"),
    "w": ("kernel", "gamma", "alpha"),
    "b": ("bias", "beta"),
    "gamma": ("gamma",),
    "scale": ("gamma",),
    "beta": ("beta",),
    "offset": ("beta",),
    "alpha": ("alpha",),
    "moving_mean": ("moving_mean",),
    "moving_variance": ("moving_variance",),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
    "depthwise_kernel": ("depthwise_kernel",),
    "pointwise_kernel": ("pointwise_kernel",),
}
WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile
OF_LAYOUT = {
    "keras": {"kernel", "gamma", "moving_mean", "moving_variance", "depthwise_kernel"},
    "torch": {"weight", "running_mean", "running_var"},
}
_WORDS = "|".join(sorted(ROLES, key=len, reverse=True))
_ROLE_LAST = re.compile(rf"(?P<layer>.+?)_(?P<role>{_WORDS})", re.IGNORECASE)  # conv1_weight
_ROLE_FIRST = re.compile(rf"(?P<role>{_WORDS})_?(?P<layer>\d+)", re.IGNORECASE)  # w0, bias_1


def parts(key: str) -> tuple[str, ...]:
    """The names of modules, and the role. ``module.conv1.weight`` and ``conv1/kernel:0`` have two each."""
    plain = re.sub(r":\d+$", "", key).strip("/")
    found = [one for one in re.split(r"[./\\]", plain) if one not in WRAPPERS]
    last = found[-1] if found else ""
    if last.lower() not in ROLES and (match := _ROLE_FIRST.fullmatch(last) or _ROLE_LAST.fullmatch(last)):
        found[-1:] = [match["layer"], match["role"]]
    if len(found) == 2 and found[1].isdecimal() and found[0].lower() in ROLES:  # weights/0, weights/1
        found.reverse()
    return tuple(found)


def layers(keys: Iterable[str]) -> dict[str, dict[str, str]] | None:
    """Layer → role → key, both in the order of ``keys``; None unless every key has a layer and a role.

    A role is a word of ``ROLES``, or the place of the tensor among those of its layer. The names that all
    keys begin with are left out.
    """
    split = {key: parts(key) for key in keys}
    if any(len(one) < 2 for one in split.values()):
        return None
    while len({one[0] for one in split.values()}) == 1 and min(map(len, split.values())) > 2:
        split = {key: one[1:] for key, one in split.items()}
    found: dict[str, dict[str, str]] = {}
    for key, one in split.items():
        role, own = one[-1].lower(), found.setdefault(".".join(one[:-1]), {})
        if role in own or not (role in ROLES or role.isdecimal()):
            return None
        own[role] = key
    return found


def are_numbered(keys: Sequence[str]) -> bool:
    """Whether the keys differ in numbers alone: arr_0, arr_1, …; then their numbers are the order."""
    return len({re.sub(r"\d+", "#", key) for key in keys}) == 1 and (
        len(keys) > 1 or bool(re.search(r"\d", keys[0]))
    )


def by_number(one: str, other: str) -> bool:
    """Whether a number is the first difference of two names: body.2 and body.10, dense and dense_1.

    ``one`` is the earlier in natural order.
    """
    if other.startswith(one) and re.fullmatch(r"_?\d+", other[len(one) :]):
        return True
    pairs = zip(*(re.split(r"(\d+)", name) for name in (one, other)), strict=False)
    first = next(((a, b) for a, b in pairs if a != b), ("", ""))
    return all(part.isdecimal() for part in first)


def is_sorted(keys: Sequence[str]) -> bool:
    """Whether the keys are in the order of the alphabet, which says nothing about the order of the layers."""
    return list(keys) in (sorted(keys), sorted(keys, key=natural_order))


def layout_of(keys: Iterable[str]) -> str | None:
    """The framework that the roles of the keys belong to, if it is one."""
    roles = {one[-1].lower() for key in keys if (one := parts(key))}
    found = [layout for layout, words in OF_LAYOUT.items() if words & roles]
    return found[0] if len(found) == 1 else None
