"""What the user states about an update, in the settings of a target."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class UserClaims:
    """samples: images behind the update, None if not stated. sign, scale: ``auto`` if not stated.

    batch_norm: mode of the BatchNormalization layers, training or inference; ``auto`` if not stated.
    loss: a text of ``losses.Loss``; ``auto`` if not stated.
    input_shape: (H, W, C) as which the model's input is an image; None if not stated.
    """

    samples: int | None = None
    sign: str = AUTO
    scale: float | str = AUTO
    batch_norm: str = AUTO
    loss: str = AUTO
    input_shape: tuple[int, int, int] | None = None
