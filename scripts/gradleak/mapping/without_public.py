"""What a model shows of itself where there are no public images: by its graph, its weights, and noise images.

Noise says nothing about the classes of real images. So everything here is either a fact about the graph or
the weights, or holds only if the model treats all noise images alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gradleak.images import noise_images
from gradleak.mapping.classifier import Public
from gradleak.mapping.head import SIGMOIDS, Head, find_head, layer_of
from gradleak.mapping.weights import is_clearly_trained

if TYPE_CHECKING:
    import keras

IMAGES = 64  # noise images, besides a black and a white one
# Largest ratio of a class's probability on a noise image to its mean, either way, for the probabilities to
# count as the same for all images. By tests/benchmarks/bench_no_public.py noise (0 to 1 epochs):
# below 2 the mean over noise is 0.83 to 1.23 of that over real images, from 5 on 0.45 to 1.8 and more.
FLAT_RATIO = 2.0
ZERO_SHARE = 0.1  # of the features of noise, from which those of real images count as sparse, too

NON_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "softmax", "exponential")
SPARSE = ("relu", "relu6")
INPUT = "input"
# Layers whose output is not negative if no input is.
KEEPING = (
    *("Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout2D", "SpatialDropout1D"),
    *("Add", "Average", "Concatenate", "Multiply", "Maximum"),
    *("ZeroPadding1D", "ZeroPadding2D", "Cropping2D", "UpSampling2D"),
    *(
        f"{kind}Pooling{rank}D"
        for kind in ("Max", "Average", "GlobalMax", "GlobalAverage")
        for rank in (1, 2)
    ),
)


def look_at_noise(model: keras.Model, sigmoids: bool = False) -> Public:
    """``Public`` of a model without public images. model: with a linear output. sigmoids: as of ``look_at``.

    softmax: the mean over noise images in every row. features: zeros. accuracy, chance: NaN.
    """
    import keras

    head, no_head = find_head(model)
    head = replace(head, output=SIGMOIDS) if head and sigmoids else head
    entered = model.outputs[0] if head is None else model.get_layer(head.layer_name).input
    tapped = keras.Model(model.inputs[0], [entered, model.outputs[0]])
    shape = tuple(model.input_shape[1:])
    plain = np.stack([np.zeros(shape, np.float32), np.ones(shape, np.float32)])
    images = np.concatenate([plain, noise_images(shape, IMAGES, seed=0)])
    features, logits = (part.numpy() for part in tapped(images, training=False))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = 1 / (1 + np.exp(-logits)) if sigmoids else shifted / shifted.sum(axis=1, keepdims=True)
    mean, classes = softmax.mean(axis=0), logits.shape[1]
    positive, sparse = _kind_of(features, entered, head)
    return Public(
        softmax=np.tile(mean, (classes, 1)),
        features=np.zeros((classes, features.shape[1] if head else 0), np.float32),
        positive=positive,
        sparse=sparse,
        accuracy=np.nan,
        chance=np.nan,
        head=head,
        no_head=no_head,
        has_images=False,
        is_flat=flat_ratio(softmax) < FLAT_RATIO,
        is_trained=is_trained(model),
    )


def _kind_of(features: np.ndarray, entered: keras.KerasTensor, head: Head | None) -> tuple[bool, bool]:
    """(whether features are never negative, whether they are also often zero). features: of noise images."""
    sources = _sources(entered) if head else None
    if sources is None or (features < 0).any():
        return False, False
    sparse = sources <= set(SPARSE) and (features == 0).mean() > ZERO_SHARE
    return True, bool(sparse)


def _sources(tensor: keras.KerasTensor) -> set[str] | None:
    """Why ``tensor`` is never negative: the activations that it consists of, or INPUT; None if it may be.

    The input counts as not negative, since images are in [0, 1].
    """
    import keras

    layer = layer_of(tensor)
    kind = type(layer).__name__
    if kind == "InputLayer":
        return {INPUT}
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    if kind == "ReLU":
        name = "relu" if not layer.negative_slope and layer.threshold >= 0 else None
    if kind == "Softmax":
        name = "softmax"
    if name in NON_NEGATIVE:
        return {name}
    before = [_sources(one) for one in keras.tree.flatten(layer.input)] if kind in KEEPING else [None]
    return None if None in before else set().union(*(one for one in before if one))


def flat_ratio(softmax: np.ndarray) -> float:
    """The largest factor between a class's probability on an image and its mean over all. softmax: [P, C]."""
    ratios = np.maximum(softmax, 1e-12) / softmax.mean(axis=0)
    return float(max(ratios.max(), 1 / ratios.min()))


def is_trained(model: keras.Model) -> bool | None:
    """Whether the model was trained, by its weights alone; None if they do not show it.

    A step of training changes the biases and shifts, so a model where each is constant was not trained. One
    where they are far from any initial value was.
    """
    if is_clearly_trained(model):
        return True
    initial = [
        float(np.ptp(values.numpy())) == 0 and values.shape[0] > 1
        for layer in model.layers
        for values in (getattr(layer, "bias", None), getattr(layer, "beta", None))
        if values is not None
    ]
    return False if initial and all(initial) else None
