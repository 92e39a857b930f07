"""The shape (H, W, C) as which a model's input is attacked, and why a given one does not fit it."""

from __future__ import annotations

import math
from collections.abc import Iterable

ONE_DIMENSIONAL = "1D"  # ends the name of layers that read signals (length, channels)


def as_image(taken: tuple[int, ...], kinds: Iterable[str]) -> tuple[int, int, int]:
    """(H, W, C) with the values of an input of shape ``taken`` in the same order.

    (H, W, C) stays, and further axes are folded into the first. (D,) becomes (1, D, 1). (L, C) becomes (1, L,
    C) where a layer reads signals, else it is (H, W) and becomes (H, W, 1). kinds: of the model's layers.
    """
    if len(taken) == 1:
        return 1, taken[0], 1
    if len(taken) == 2:
        is_signal = any(kind.endswith(ONE_DIMENSIONAL) for kind in kinds)
        return (1, *taken) if is_signal else (*taken, 1)
    return math.prod(taken[:-2]), taken[-2], taken[-1]


def other_images(taken: tuple[int, ...], image: tuple[int, ...], is_stated: bool = False) -> str:
    """Why a model that takes ``taken`` cannot be given images of shape ``image``, and what to do.

    is_stated: ``image`` is the user's `input_shape`, and not the shape of a data set.
    """
    if is_stated:
        return (
            f"the model takes {math.prod(taken)} numbers, as {taken}, and `input_shape` {list(image)} has "
            f"{math.prod(image)}; correct `input_shape` of the target, or leave it out"
        )
    if math.prod(taken) != math.prod(image):
        return (
            f"the model takes images {taken}, the public data set has {image}; choose another `dataset`, one "
            "of your own images, or `dataset: none`"
        )
    return (
        f"the model takes {taken}, and images are {image}, whose channels can come first or last in it; put "
        f"a Reshape (and Permute) in front of the model so that it takes {image}, or choose `dataset: none`"
    )
