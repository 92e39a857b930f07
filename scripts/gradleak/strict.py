"""The base of every options model: unknown keys are errors, values are frozen once checked."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)
