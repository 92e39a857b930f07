"""The features of all members of a net of two classes, from the activation patterns of rough images.

Of two classes δ(x, c) has one direction for both labels and any probability: in a layer that feeds a ReLU and
then one logit it is the logit's weights where the ReLU is active. So a rough image with the activation
pattern of a member has its δ but for a factor, and mixtures of members near a member have it, too. As many
independent directions D [R, O] as M has rank, all in its row space, are those of all members. Then
M = (1/N) Fᵀ diag(r) D, so that the columns of M D⁺ are their features up to a factor. The input that is
always one gives the factor. Activation patterns in the row space: SPEAR (Dimitrov et al. 2024).
"""

from __future__ import annotations

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.subspace import LayerGradient


def features_of_all(layer: DenseLayer, gradient: LayerGradient, judged: Certificates) -> np.ndarray:
    """Features [R, I] of all members, the last entry one; [0, I] where the patterns do not show them all, or
    ``layer`` has no bias. judged: certificates of rough images.
    """
    rank, nothing = gradient.span.rank, np.zeros((0, len(gradient.matrix)))
    within = judged.label_normalised_residual < thresholds.NORMALISED_RESIDUAL
    directions = judged.delta[within] / np.linalg.norm(judged.delta[within], axis=1, keepdims=True)
    chosen = _independent(directions, rank)
    if len(chosen) < rank or not rank or layer.bias is None:
        return nothing
    found = (gradient.matrix @ np.linalg.pinv(directions[chosen])).T
    if not found[:, -1].all():
        return nothing
    return found / found[:, -1:]


def _independent(directions: np.ndarray, count: int) -> list[int]:
    """Up to ``count`` of the unit vectors [B, O], each with a part that the ones before it do not span."""
    rest = directions.copy()
    chosen: list[int] = []
    while len(rest) and len(chosen) < count:
        sizes = np.linalg.norm(rest, axis=1)
        best = int(sizes.argmax())
        if sizes[best] < thresholds.INDEPENDENT:
            break
        chosen.append(best)
        unit = rest[best] / sizes[best]
        rest = rest - np.outer(rest @ unit, unit)
    return chosen
