"""Images at the last layer of a model: all that the label methods need to know of the rest of it."""

from __future__ import annotations

import keras
import numpy as np

from gradleak.mapping.head import find_head


def tapped(model: keras.Model) -> keras.Model:
    """Images → (input of the last dense layer, logits). Without such a layer the logits stand for its input,
    since no label method applies.
    """
    head, _ = find_head(model)
    entered = model.outputs[0] if head is None else model.get_layer(head.layer_name).input
    return keras.Model(model.inputs[0], [entered, model.outputs[0]])


def member_features(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, accepted: np.ndarray
) -> dict[str, np.ndarray]:
    """The certified images of a block of inversions, as arrays of results/members/*.npz.

    images: float32 [T, M, H, W, C]; labels: int [T, M]; accepted: bool [T, M].
    Returns of the K accepted images trial, labels (int [K]), features [K, d] and logits [K, C].
    """
    trial, image = np.nonzero(accepted)
    # One more image, so that there is a batch even where none was certified.
    batch = np.concatenate([images[trial, image], np.zeros((1, *model.input_shape[1:]), np.float32)])
    features, logits = tapped(model).predict(batch, batch_size=256, verbose=0)
    return {"trial": trial, "labels": labels[trial, image], "features": features[:-1], "logits": logits[:-1]}
