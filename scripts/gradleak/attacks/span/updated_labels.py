"""Labels after several local steps, by the model that the client sent back."""

from __future__ import annotations

import keras
import numpy as np

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import thresholds
from gradleak.float32 import FLOAT32_ROUNDING


def labels_by_updated_model(problem: Problem, trial: int, images: np.ndarray) -> np.ndarray:
    """Classes int [K] of ``images`` [K, H, W, C] that a client trained on, as the updated model predicts
    them.

    δ changed during training and lies nowhere near the row space, but the updated model has learnt the
    images. Large steps can make a model collapse instead, which its accuracy on public images shows. Then the
    model before the update predicts the classes. Without public images a model that gives several images one
    class may have collapsed, and their labels are −1: not shown.
    """
    scale = np.float32(FLOAT32_ROUNDING / problem.rounding)  # of the pseudo-gradient in the update
    updated = keras.models.clone_model(problem.model)
    updated.set_weights(problem.model.get_weights())
    for variable, gradient in zip(updated.trainable_variables, problem.gradients, strict=True):
        variable.assign_sub(scale * gradient[trial])

    def classes(model: keras.Model, of: np.ndarray) -> np.ndarray:
        return model.predict(of.astype(np.float32), batch_size=256, verbose=0).argmax(axis=1)

    if not len(problem.public):
        found = classes(updated, images)
        return np.full_like(found, -1) if len(found) > 1 and np.ptp(found) == 0 else found
    after, before = (
        (classes(m, problem.public) == problem.public_labels).mean() for m in (updated, problem.model)
    )
    return classes(updated if after > thresholds.ACCURACY_KEPT * before else problem.model, images)
