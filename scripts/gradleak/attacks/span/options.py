"""The options of a span-inversion cell. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gradleak.strict import StrictModel


class SpanOptions(StrictModel):
    """A span-inversion cell."""

    attack: Literal["span"] = "span"
    prior: str | None = Field(
        None,
        description="Name of a prior in `priors`. Half of the starting images are then random images of its "
        "decoder, whose codes are optimised before the pixels.",
    )
    starts: int = Field(
        128,
        ge=2,
        description="Images optimised at once in a round that starts from images. Such rounds run if the "
        "features of the layer may be negative, or if sparse rays show no new member.",
    )
    rays: int = Field(
        32,
        ge=0,
        description="Linear programs of a round. Each may find one member's feature without an image.",
    )
    ray_starts: int = Field(
        4,
        ge=1,
        description="Public images that are optimised towards such a feature; the nearest one is kept.",
    )
    ray_steps: int = Field(150, ge=1, description="Steps over pixels towards such a feature.")
    steps: int = Field(300, ge=1, description="Steps of a round over pixels.")
    code_steps: int = Field(200, ge=1, description="Steps of a round over codes, before the pixels.")
    learning_rate: float = Field(0.03, gt=0, description="Step size over pixels.")
    polish_steps: int = Field(200, ge=0, description="L-BFGS steps in float64 for every candidate.")
    copies: int = Field(
        8,
        ge=1,
        description="Copies of the public images, shifted by up to two pixels, to choose starting "
        "images from.",
    )
    rounds: int = Field(24, ge=1, description="Rounds at most.")
    patience: int = Field(3, ge=1, description="Rounds without a new member after which the search stops.")
    joint_rounds: int = Field(
        0,
        ge=0,
        description="Rounds of the joint search at most. It runs if the number of images is known and fewer"
        " members are found. Each round fits all known members together, and searches the remainder of the "
        "gradient. A round takes half a minute or more.",
    )
    joint_steps: int = Field(
        5, ge=1, description="Gauss–Newton steps of such a round, over all images at once."
    )
    control: Literal["none", "random_gradient"] = Field(
        "none",
        description="random_gradient: the layer's gradient is replaced by one of the same singular values "
        "over random mixtures of public features. With `joint_rounds` the remainder after the joint fit is "
        "replaced in the same way. Neither has members, so every accepted image is a false positive.",
    )
