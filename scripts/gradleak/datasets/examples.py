"""Examples with their labels: what a data set, a pool or a client's batch holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Examples(NamedTuple):
    """n labelled examples. Every example has three axes: a vector of D values is (1, D, 1).

    x: uint8 (n, H, W, C), or float32 in [0, 1] where the source has more than 256 levels. y: int64 (n,), the
    class of each; or uint8 (n, K), 1 for each of the labels that an example has. classes: number of classes
    or labels of the data set, whether or not each occurs here.
    """

    x: np.ndarray
    y: np.ndarray
    classes: int

    def take(self, index: np.ndarray | slice) -> Examples:
        """The examples at ``index``, in that order."""
        return Examples(self.x[index], self.y[index], self.classes)

    @property
    def strata(self) -> np.ndarray:
        """int64 (n,): the class of each example; with several labels, which combination of them it has."""
        if self.y.ndim == 1:
            return self.y
        return np.unique(self.y, axis=0, return_inverse=True)[1].reshape(-1)
