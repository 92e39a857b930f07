"""The options of a DLG cell. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from gradleak.attacks.matching.options import MatchingOptions

Init = Literal["auto", "normal", "uniform", "smooth_noise", "public_mean", "class_mean", "features"]


class DlgOptions(MatchingOptions):
    """A pixel-space inversion cell."""

    attack: Literal["dlg"] = "dlg"
    control: Literal["none", "random_gradient"] = Field(
        "none",
        description="random_gradient: the leak is replaced by noise of the same norm per tensor, "
        "to show what the attack finds without a signal.",
    )
    tv: float = Field(
        3e-5, ge=0, description="Weight of the total variation (sum over pixels, mean over images)."
    )
    box: bool = Field(True, description="Keep pixels in [0, 1] after every step.")
    init: Init = Field(
        "auto",
        description="Start. normal: small normal noise. uniform: uniform noise in [0, 1]. smooth_noise: the"
        " same, blurred. public_mean: the mean public image. class_mean: the mean public image of the "
        "dummy's class (not with labels: joint). features: for updates of one image, a public image fitted "
        "to the input of the first dense layer, which the layer's gradients give in closed form. auto: "
        "uniform; an update of one image and one local step is matched once more by L-BFGS, from the result"
        " and from the fitted image, and the one with the smaller distance is taken.",
    )
    init_scale: float = Field(
        0.01, ge=0, description="Standard deviation of normal noise (also on public_mean and class_mean)."
    )
    starts: int = Field(
        1, ge=1, description="Restarts per trial, run at once; the attack's own objective chooses."
    )
    members: dict[str, Any] | None = Field(
        None,
        description="Options of a span cell on the same target ({}: its defaults), which then runs first. "
        "The images that it accepts take the place of dummies of their labels and stay fixed; the other "
        "dummies are optimised. The accepted images also count among the recovered labels.",
    )
    fill_outside_receptive_field: bool = Field(
        False,
        description="Predict the pixels that no unit of the model depends on from the others, with public "
        "images; else they keep their starting values.",
    )

    @model_validator(mode="after")
    def _members_fit(self) -> DlgOptions:
        if self.members is not None and self.labels == "joint":
            raise ValueError("members need labels that are known beforehand: recovered or oracle")
        if self.members is not None and self.control != "none":
            raise ValueError(
                "members are found in the leak, which the control replaces; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _class_is_known(self) -> DlgOptions:
        if self.init == "class_mean" and self.labels == "joint":
            raise ValueError("init: class_mean needs labels that are known beforehand: recovered or oracle")
        return self
