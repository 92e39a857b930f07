"""What never changes during a search: the layer, the public images, the decoder, the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.pixel_inputs import PixelInputs, for_two_sided_search
from gradleak.attacks.span.starting_images import Pool


def _silent(text: str, *values: object) -> None:
    """No progress messages."""


@dataclass(frozen=True)
class SearchContext:
    """One model, ready for any number of trials.

    coarse, fine: the searched layer in float32 and in float64. pool: public images with their features under
    ``coarse``. inside: bool [H, W, C], pixels inside the receptive field of the model's units. decoder: z [B,
    d] → images [B, H, W, C] in [0, 1], or None. progress: called as ``logging.info`` is. is_first: another
    layer is searched after this one, which gets the two-sided search alone.
    """

    coarse: DenseLayer
    fine: DenseLayer
    pool: Pool
    inside: np.ndarray
    decoder: keras.Model | None
    options: SpanOptions
    progress: Callable[..., None] = _silent
    is_first: bool = False

    @cached_property
    def is_nonlinear(self) -> bool:
        """Whether features are nonlinear in the image. Else mixtures of members are as deep in the span as
        members."""
        return self.coarse.is_nonlinear(self.pool.images[: thresholds.LAYER_IMAGES])

    @cached_property
    def feeds_relu(self) -> bool:
        return self.fine.feeds_relu(self.pool.images[: thresholds.LAYER_IMAGES])

    @cached_property
    def inputs(self) -> PixelInputs | None:
        """How the layer receives pixels; None where the two-sided search does not apply."""
        return for_two_sided_search(self.fine, self.pool.images)

    @cached_property
    def has_cone(self) -> bool:
        """Whether sparse rays are searched: features must be nonnegative, linear ones sparse as well, and
        only with a bias is a ray's length known."""
        features = self.pool.features
        sparse = self.is_nonlinear or (features == 0).mean() >= thresholds.LAYER_ZEROS
        return (
            self.options.rays > 0 and self.coarse.bias is not None and sparse and bool((features >= 0).all())
        )


def search_context(
    layers: tuple[DenseLayer, DenseLayer],
    public: np.ndarray,
    inside: np.ndarray,
    decoder: keras.Model | None,
    options: SpanOptions,
    progress: Callable[..., None] | None = None,
) -> SearchContext:
    """The context of a search of ``layers`` (float32 and float64) with images ``public`` [P, H, W, C]."""
    coarse, fine = layers
    pool = Pool(coarse, public, options.copies)
    return SearchContext(coarse, fine, pool, inside, decoder, options, progress or _silent)
