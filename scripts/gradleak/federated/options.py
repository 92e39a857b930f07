"""The options of a simulated client. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from gradleak.datasets.names import OwnOrBuiltin
from gradleak.federated import defences
from gradleak.federated.models import MODELS, WITH_WIDTH
from gradleak.mapping.preprocess import Preprocess
from gradleak.strict import StrictModel

MODEL_FILES = (".json", ".keras")  # endings of the user's own models


def _builtin_or_file(model: str) -> str:
    if model not in MODELS and not model.endswith(MODEL_FILES):
        names = ", ".join(repr(name) for name in (*MODELS, "path/to/model.json", "path/to/model.keras"))
        raise PydanticKnownError("literal_error", {"expected": names})
    return model


ModelName = Annotated[
    str,
    AfterValidator(_builtin_or_file),
    WithJsonSchema({"anyOf": [{"enum": list(MODELS)}, {"type": "string", "pattern": r"\.(json|keras)$"}]}),
]


class ClientOptions(StrictModel):
    """A simulated target: the client's data, model and training, and how it shares the delta."""

    source: Literal["simulate"] = "simulate"
    dataset: OwnOrBuiltin = Field(
        "mnist-5k",
        description="Data set of the private, pretraining and public images: a built-in one, or one of "
        "`datasets`.",
    )
    model: ModelName = Field(
        "cnn7",
        description="The classifier being trained: a built-in one, or the path of a Keras model of yours.",
    )
    width: int | None = Field(
        None,
        ge=1,
        description=f"Units of each hidden dense layer; null: the model's own. For {', '.join(WITH_WIDTH)}.",
    )
    preprocess: Preprocess | None = Field(
        None,
        description="What a client does to its examples, which are in [0, 1], before the model: `{mean: …, "
        "std: …}` or `{range: [lo, hi]}`; null: nothing.",
    )
    model_seed: int = Field(0, ge=0, description="Seed of the starting weights, shared by all draws.")
    pretrain_epochs: float = Field(
        0, ge=0, description="Epochs of training on other clients' data before the round."
    )
    samples: int | None = Field(
        None, ge=1, description="Images a client owns; default: one batch of batch_size."
    )
    batch_size: int = Field(32, ge=1, description="Images in one local step.")
    local_epochs: int = Field(1, ge=1, description="Passes over the client's images.")
    local_steps: int | None = Field(
        None, ge=1, description="Exact number of local steps; overrides local_epochs."
    )
    learning_rate: float = Field(0.05, gt=0, description="The client's learning rate.")
    optimizer: Literal["sgd", "momentum", "adam"] = Field("sgd", description="The client's optimizer.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Used by optimizer: momentum.")
    alpha: float | None = Field(
        0.15, gt=0, description="Dirichlet concentration of the class shares; null: IID."
    )
    sign: Literal["after_minus_before", "before_minus_after"] = Field(
        "after_minus_before", description="The client's convention for the shared delta."
    )
    sign_in_metadata: bool = Field(
        False,
        description="The metadata states the sign of the delta; false: the mapping has to determine it.",
    )
    scale: float = Field(1.0, gt=0, description="Factor on the shared delta (a client weight, say).")
    clients: int = Field(
        1,
        ge=1,
        description="Clients whose deltas are averaged into the one that is leaked, as under secure "
        "aggregation.",
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="The shared delta is scaled down to this L2 norm where it is longer; null: not.",
    )
    noise_std: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of Gaussian noise on every entry of the shared delta, after "
        "clipping.",
    )
    top_k: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of each tensor's entries that is shared, the largest; the others become 0.",
    )
    precision: Literal[*defences.PRECISIONS] = Field(
        "float32", description="Number format of the shared delta."
    )
    draws: int = Field(8, ge=1, description="Clients simulated; seed s attacks draw s mod draws.")
    draws_per_job: int = Field(
        8,
        ge=1,
        description="Clients simulated and mapped in one job. Another value runs the target's attacks again.",
    )

    @model_validator(mode="after")
    def _fits(self) -> ClientOptions:
        if self.samples is not None and self.samples < self.batch_size and self.local_steps is None:
            raise ValueError(f"samples ({self.samples}) is less than batch_size ({self.batch_size})")
        if self.width is not None and self.model not in WITH_WIDTH:
            raise ValueError(
                f"model {self.model} has no width to choose; those that have: {', '.join(WITH_WIDTH)}"
            )
        return self

    @property
    def own_model(self) -> str | None:
        """The path of a model of the user's, if it is one."""
        return None if self.model in MODELS else self.model

    @property
    def client_samples(self) -> int:
        return self.samples or self.batch_size

    @property
    def steps(self) -> int:
        """Local steps in all."""
        return self.local_steps or self.local_epochs * -(-self.client_samples // self.batch_size)
