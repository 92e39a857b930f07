"""The options of a label-recovery cell. No TensorFlow: read while the workflow is parsed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gradleak.labels.registry import METHODS
from gradleak.strict import StrictModel


class LabelOptions(StrictModel):
    """A label-recovery cell."""

    attack: Literal["labels"] = "labels"
    method: Literal[*METHODS] = Field("rank1", description="Label-recovery method.")
    members: dict[str, Any] | None = Field(
        None,
        description="Options of a span cell on the same target ({}: its defaults), which then runs first. "
        "The images that it accepts keep their classes, and the method estimates the others.",
    )

    def needs_shadow_clients(self, has_public: bool) -> bool:
        """Whether the method uses public images, noise images or shadow clients at the round's model.

        has_public: whether there are public images; without any, only noise images can be used.
        """
        method = METHODS[self.method]
        return method.dummy or (has_public and (method.public or method.optional_public))
