"""The options of a prior. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gradleak.datasets.names import OwnOrBuiltin
from gradleak.strict import StrictModel


class VaeOptions(StrictModel):
    """A VAE trained on the adversary's public images."""

    dataset: OwnOrBuiltin = Field(
        "mnist-5k",
        description="Whose public pool the VAE is trained on: a built-in set or one of `datasets`.",
    )
    architecture: Literal["notebook", "conv"] = Field(
        "conv",
        description="notebook: one convolution in the encoder and one in the decoder. conv: strided "
        "convolutions.",
    )
    latent_dim: int = Field(16, ge=1, description="Dimension of the latent space.")
    epochs: int = Field(60, ge=1, description="Passes over the public images at most.")
    patience: int = Field(
        5, ge=1, description="Epochs without a better held-out ELBO after which training stops."
    )
    batch_size: int = Field(64, ge=1, description="Images per training step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's step size.")
    images: int | None = Field(
        None, ge=20, description="Number of public images used, the first ones; default: all."
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order and noise.")
