"""The options of a latent-inversion cell. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gradleak.attacks.matching.options import MatchingOptions


class LatentOptions(MatchingOptions):
    """A latent-space inversion cell."""

    attack: Literal["latent"] = "latent"
    prior: str = Field("vae", description="Name of a prior in `priors`.")
    starts: int = Field(2, ge=1, description="Restarts per trial, run at once.")
    latent_penalty: float = Field(
        1e-4, ge=0, description="Weight of the mean of z²/2: the prior's negative log density."
    )
    control: Literal["none", "random_gradient", "label_only"] = Field(
        "none",
        description="random_gradient: as in dlg. label_only: the gradient is not used at all; images of the "
        "estimated labels are drawn from the prior with the global model as the guide.",
    )
    steps: int = Field(200, ge=1, description="Optimisation steps.")
