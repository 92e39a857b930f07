"""The options that every gradient-matching attack shares. No TensorFlow: read while the workflow is
parsed.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gradleak.attacks.matching.weightings import WEIGHTINGS
from gradleak.strict import StrictModel


class MatchingOptions(StrictModel):
    """What every gradient-matching cell may say: what is compared, the labels, and how the search goes."""

    loss: Literal["l2", "cosine", "l2_global", "cosine_global"] = Field(
        "cosine", description="Distance between the dummy gradient and the leaked one."
    )
    weighting: Literal[*WEIGHTINGS, "learned"] = Field(
        "uniform",
        description="Weight of each tensor in the loss. learned: the weights with which a step brings "
        "dummies closest to the images of shadow clients.",
    )
    labels: Literal["joint", "recovered", "oracle"] = Field(
        "recovered",
        description="Labels of the dummies: optimised along with the images, taken from a label "
        "method, or the true ones (oracle rows are marked as such everywhere).",
    )
    label_method: str = Field("rank1", description="The label method behind labels: recovered.")
    dummy_batch: int | None = Field(
        None, ge=1, description="Dummy images; default: the true number of samples."
    )
    batch_norm: Literal["coupled", "fixed"] = Field(
        "coupled",
        description="How BatchNorm layers are evaluated for a client in training mode: by the statistics of "
        "the dummies, as on the client, or fixed at those of its batch (at the moving ones where these are "
        "not known).",
    )
    statistics_weight: float = Field(
        0.1,
        ge=0,
        description="Weight of the distance between the dummies' statistics at these layers and those of the "
        "client's batch, where the update shows them.",
    )
    control: Literal["none", "random_gradient", "label_only"] = Field(
        "none", description="A control, in which the gradient is replaced or not used."
    )
    steps: int = Field(500, ge=1, description="Optimisation steps.")
    learning_rate: float = Field(0.1, gt=0, description="Step size of the attack.")
    optimizer: Literal["adam", "sign_adam"] = Field("adam", description="Optimiser of the attack.")
    decay: Literal["none", "cosine", "step"] = Field("cosine", description="Decay of the step size.")
    clip_norm: float | None = Field(
        None, gt=0, description="Per-trial bound on the gradient of each variable."
    )
    polish_steps: int = Field(0, ge=0, description="L-BFGS steps from the best point at the end.")
    plateau: int = Field(0, ge=0, description="Stop a trial after so many steps without progress; 0: never.")
