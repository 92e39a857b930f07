"""What a client does to its examples before its model, as a Rescaling layer in front of the model.

So attacks search examples in [0, 1], as the data set has them, and their limits hold there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, model_validator

from gradleak.artifacts.leak import Leak
from gradleak.mapping.errors import MappingError
from gradleak.mapping.front_layer import input_shape, with_front_layer
from gradleak.strict import StrictModel

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Annotated[list[Finite], Field(min_length=1, max_length=4096)]
PositivePerChannel = Annotated[list[Positive], Field(min_length=1, max_length=4096)]


class Preprocess(StrictModel):
    """Either mean and std, (x − mean) / std, or the range that [0, 1] becomes. x is in [0, 1]."""

    mean: Finite | PerChannel | None = Field(None, description="Mean, one or one for each channel.")
    std: Positive | PositivePerChannel | None = Field(
        None, description="Standard deviation, one or one for each channel."
    )
    range: tuple[Finite, Finite] | None = Field(None, description="What 0 and 1 become, such as [-1, 1].")

    @model_validator(mode="after")
    def _one_of_both(self) -> Preprocess:
        is_standard = self.mean is not None and self.std is not None
        if is_standard == (self.range is not None) or (self.mean is None) != (self.std is None):
            raise ValueError("give mean and std, or range")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("the first number of range must be less than the second")
        lengths = {len(one) for one in (self.mean, self.std) if isinstance(one, list)}
        if len(lengths) > 1:
            raise ValueError("mean and std must have as many numbers")
        return self

    @property
    def in_words(self) -> str:
        """One line for tables."""
        given = self.model_dump(exclude_none=True, mode="json")
        return ", ".join(f"{key} {str(value).strip('[]')}" for key, value in given.items())

    @property
    def scale_and_offset(self) -> tuple[float | list[float], float | list[float]]:
        """Of x · scale + offset; lists if one of the two settings is for each channel."""
        if self.range is not None:
            return self.range[1] - self.range[0], self.range[0]
        means, stds = (one if isinstance(one, list) else [one] for one in (self.mean, self.std))
        channels = max(len(means), len(stds))  # type: ignore[arg-type]
        pairs = list(zip(_each(means, channels), _each(stds, channels), strict=True))
        scale, offset = [1 / std for _, std in pairs], [-mean / std for mean, std in pairs]
        return (scale, offset) if channels > 1 else (scale[0], offset[0])


def _each(values: list[Any], channels: int) -> list[float]:
    return values * channels if len(values) == 1 else values


def preprocessed(leak: Leak, preprocess: Preprocess | None) -> Leak:
    """The leak with the layer in front of its model. None: as it is. Raises MappingError as ``in_front``."""
    return leak if preprocess is None else replace(leak, model_json=in_front(leak.model_json, preprocess))


def in_front(model_json: str, preprocess: Preprocess) -> str:
    """The JSON of a model with a Rescaling layer between its input and what reads it.

    Raises MappingError where the numbers are not as many as the channels of the model's input.
    """
    scale, offset = preprocess.scale_and_offset
    shape = input_shape(model_json)
    if isinstance(scale, list) and len(scale) != shape[-1]:
        raise MappingError(
            f"preprocess has {len(scale)} numbers, and the model takes {shape}, of which the last axis "
            "are the channels; give as many numbers, or one"
        )
    return with_front_layer(model_json, "Rescaling", "preprocess", {"scale": scale, "offset": offset}, shape)
