"""The dense layer of a classifier that is searched, or the reason why there is none."""

from __future__ import annotations

import keras
import numpy as np

from gradleak.attacks import receptive_field
from gradleak.attacks.span import feature_inversion, thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, dense_layers, features_of
from gradleak.attacks.span.pixel_inputs import for_two_sided_search
from gradleak.images import psnr as psnr_of
from gradleak.losses import PLAIN, Loss


class NoLayer(ValueError):
    """No layer of the model can be searched; the message gives the reason."""


def select(
    model: keras.Model,
    public: np.ndarray,
    one_step: bool = True,
    coupled: tuple[str, ...] = (),
    loss: Loss = PLAIN,
) -> tuple[DenseLayer, DenseLayer]:
    """The layer to search for images like ``public`` [P, H, W, C] (P ≥ 2), in float32 and in float64.

    The widest layer with nonlinear features that determine the image; no mixtures of members lie in its span.
    Where there is none, the widest with features linear in the image. Mixtures lie in its span, but are no
    extreme rays of its cone (``sparse_rays``), and their δ is in the row space under no label. A layer of one
    output comes last: its gradient has rank one, whatever the number of images. one_step:
    after several local steps neither is known of members. coupled: names of BatchNormalization layers that
    normalised by the batch; the features of ``model`` must be those of its members. loss: of the client.
    Raises NoLayer, gradients.trace.Untraceable.
    """
    few = public[: thresholds.LAYER_IMAGES]
    pairs = _pairs(model, loss)
    # Of each kind still the widest first. The gradient of one output is one vector, a sum over the images.
    pairs.sort(key=lambda pair: (pair[0].weights.shape[1] == 1, not pair[0].is_nonlinear(few)))
    inside, refused = ~receptive_field.mask(model), []
    for coarse, fine in pairs:
        objection = _coupling(coarse, coupled) or _objection(coarse, public, inside, one_step)
        if not objection:
            return coarse, fine
        refused.append(f"{coarse.name} receives {objection}")
    raise NoLayer("; ".join(refused) or "no dense layer that all data passes through: no span to search")


def of_pixels(
    model: keras.Model, public: np.ndarray, coupled: tuple[str, ...] = (), loss: Loss = PLAIN
) -> tuple[DenseLayer, DenseLayer] | None:
    """The widest layer before a ReLU that receives the pixels of images like ``public``, in float32 and in
    float64; None where there is none. coupled, loss: as of ``select``. Raises gradients.trace.Untraceable."""
    few = public[: thresholds.LAYER_IMAGES]
    for coarse, fine in _pairs(model, loss):
        if (
            coarse.weights.shape[1] > 1
            and not _coupling(coarse, coupled)
            and for_two_sided_search(coarse, few)
        ):
            return coarse, fine
    return None


def _pairs(model: keras.Model, loss: Loss) -> list[tuple[DenseLayer, DenseLayer]]:
    both = (dense_layers(model, dtype, loss) for dtype in ("float32", "float64"))
    return list(zip(*both, strict=True))


def _coupling(layer: DenseLayer, coupled: tuple[str, ...]) -> str:
    """Why no image can be tested for itself in ``layer``: one of ``coupled`` follows it. Else empty.

    Then a member's δ depends on the whole batch. Right before such a layer the δ even sum to zero, so that
    the span holds differences of features, and no feature.
    """
    behind = [step.stage.name for step in layer.steps[layer.place + 1 :] if step.stage.name in coupled]
    if not behind:
        return ""
    return f"features whose δ {behind[0]} couples: in training mode they depend on the whole batch"


def _objection(layer: DenseLayer, public: np.ndarray, inside: np.ndarray, one_step: bool) -> str:
    """Why ``layer`` cannot be searched; empty if it can."""
    few = public[: thresholds.LAYER_IMAGES]
    if not layer.is_nonlinear(few):
        if for_two_sided_search(layer, few):
            return ""
        values = features_of(layer, few)
        if layer.bias is None or (values < 0).any() or (values == 0).mean() < thresholds.LAYER_ZEROS:
            return (
                "features that are linear in the image, or nearly so, and neither pixels before a ReLU nor "
                "nonnegative and sparse: mixtures of images cannot be distinguished from images in its span"
            )
        if not one_step:
            return (
                "features that are linear in the image: after several local steps "
                "mixtures of images cannot be distinguished from images"
            )
    psnr = recalled(layer, public, inside)
    if psnr < thresholds.RECALL_PSNR:
        return (
            "too little to tell images apart: images recovered from these features alone "
            f"have a median PSNR of {psnr:.0f} dB"
        )
    return ""


def recalled(layer: DenseLayer, public: np.ndarray, inside: np.ndarray) -> float:
    """The median PSNR in dB at which images ``public`` [P, H, W, C] (P ≥ 2) are recovered from their
    features.

    Over the pixels ``inside`` the receptive field (bool [H, W, C]). Certificates judge features. If a layer
    receives only a few averages of an image, quite different images share a feature. A few images are tried,
    each from the others of the most similar features.
    """
    tried = np.unique(np.linspace(0, len(public) - 1, thresholds.RECALL_IMAGES).astype(int))
    values = features_of(layer, public)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), thresholds.TINY_LENGTH)
    cosines = unit[tried] @ unit.T
    cosines[np.arange(len(tried)), tried] = -np.inf
    starts = np.argsort(-cosines, axis=1)[:, : min(thresholds.RECALL_STARTS, len(public) - 1)]
    images = feature_inversion.images_of(layer, values[tried], public[starts], thresholds.RECALL_STEPS)
    return float(np.median(psnr_of(np.square(images - public[tried])[:, inside].mean(axis=1))))
