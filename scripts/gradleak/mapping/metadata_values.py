"""Values of metadata as people write them → types. Each function gives None for what has no meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradleak import losses

LONGEST = 200_000  # characters of a loss with a weight for each class
MODES = ("training", "inference")  # of BatchNormalization layers
SIGNS = ("after_minus_before", "before_minus_after")
OPTIMIZERS = {
    "gradientdescent": "sgd",
    "stochasticgradientdescent": "sgd",
    "minibatchsgd": "sgd",
    "sgdm": "momentum",
    "sgdmomentum": "momentum",
    "sgdwithmomentum": "momentum",
    "momentumsgd": "momentum",
    "nag": "nesterov",
    "sgdnesterov": "nesterov",
    "nesterovmomentum": "nesterov",
    "nesterovsgd": "nesterov",
}
DIRECTIONS = {
    "afterminusbefore": SIGNS[0],
    "afterbefore": SIGNS[0],
    "newminusold": SIGNS[0],
    "newold": SIGNS[0],
    "localminusglobal": SIGNS[0],
    "beforeminusafter": SIGNS[1],
    "beforeafter": SIGNS[1],
    "oldminusnew": SIGNS[1],
    "oldnew": SIGNS[1],
    "globalminuslocal": SIGNS[1],
}


def squeezed(text: str) -> str:
    """``text`` without case and separators, by which spellings are compared."""
    return "".join(one for one in text.lower() if one.isalnum())


def read_number(value: Any) -> float | None:
    """A finite number, also as text; None if it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def read_positive(value: Any) -> float | None:
    number = read_number(value)
    return number if number is not None and 0 < number < 1e30 else None


def read_not_negative(value: Any) -> float | None:
    return 0.0 if read_number(value) == 0 else read_positive(value)


def read_share(value: Any) -> float | None:
    number = read_not_negative(value)
    return number if number is not None and number < 1 else None


def read_whole(value: Any) -> int | None:
    number = read_positive(value)
    return int(number) if number is not None and number == round(number) and number < 1 << 31 else None


def read_round(value: Any) -> int | None:
    return 0 if read_number(value) == 0 else read_whole(value)


def read_flag(value: Any) -> bool | None:
    if isinstance(value, np.generic):
        value = value.item()
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return known.get(squeezed(str(value))) if isinstance(value, bool | int | str) else None


def read_text(value: Any) -> str | None:
    return value.strip()[:100] if isinstance(value, str) and value.strip() else None


def read_optimizer(value: Any) -> str | None:
    """``torch.optim.SGD``, ``SGD(lr=0.1)``, ``sgd_optimizer`` and ``sgd_1`` are all sgd."""
    text = read_text(value)
    if text is None:
        return None
    text = text.partition("(")[0]
    if re.fullmatch(r"[A-Za-z_][\w.]*", text):  # the name of a class, perhaps with its module
        text = re.sub(r"_\d+$", "", text.rpartition(".")[2])
    name = squeezed(text).removesuffix("optimizer")
    return OPTIMIZERS.get(name, name) or None


def read_sign(value: Any) -> str | None:
    return DIRECTIONS.get(squeezed(value)) if isinstance(value, str) else None


def read_mode(value: Any) -> str | None:
    name = squeezed(value) if isinstance(value, str) else ""
    return {"train": "training", "eval": "inference", "evaluation": "inference"}.get(
        name, name if name in MODES else None
    )


def read_loss(value: Any) -> str | None:
    """``"CrossEntropyLoss(label_smoothing=0.1)"``, or ``{"class_name": …, "config": {…}}`` of Keras."""
    if isinstance(value, Mapping):
        options = value.get("config")
        listed = options.items() if isinstance(options, Mapping) else ()
        given = ", ".join(f"{key}={one}" for key, one in listed if one is not None)
        value = f"{value.get('class_name')}({given})"
    if not isinstance(value, str) or not value.strip():
        return None
    name = losses.canonical(value.strip()[:LONGEST])
    return name if losses.parse(name) else name[:100]


def read_class_weights(value: Any) -> tuple[float, ...] | None:
    try:
        found = losses.class_weights(value)
    except (ValueError, TypeError):
        return None
    return found if len(found) <= losses.MOST_CLASSES and all(0 <= one < 1e9 for one in found) else None


def read_reduction(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and value.lower() in losses.REDUCTIONS else None


def read_kept(value: Any) -> float | None:
    number = read_positive(value)
    return number if number is not None and number < 1 else None
