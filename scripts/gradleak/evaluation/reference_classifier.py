"""The reference classifier: does an independent classifier recognise the reconstruction as its true class?

A support vector machine on principal components, trained on the pretraining pool. It is of another kind than
the target model, and is trained on no private and no public image. It takes examples as vectors, so that it
serves images, vectors and the records of a table alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradleak.files import read_npz, write_npz

COMPONENTS = 40
TRAIN_ON = 8000


class ReferenceClassifier(NamedTuple):
    """The parameters of scikit-learn's PCA and SVC as plain arrays, which load faster than scikit-learn."""

    mean: np.ndarray  # [F], of an image
    components: np.ndarray  # [K, F]
    vectors: np.ndarray  # [S, K], the support vectors, class by class
    dual: np.ndarray  # [C - 1, S], their coefficients against each other class
    intercept: np.ndarray  # [C (C - 1) / 2], of each pair of classes
    support: np.ndarray  # [C], support vectors of each class
    gamma: np.ndarray  # of the kernel exp(−γ ‖a − b‖²)
    classes: np.ndarray  # [C]


def train(x: np.ndarray, y: np.ndarray) -> ReferenceClassifier | None:
    """Train on the first TRAIN_ON images. x: float32 (n, H, W, C) in [0, 1]; y: int (n,).

    None for examples of several labels, y (n, K), and for examples that are all of one class: there is
    nothing to tell apart then.
    """
    if y.ndim > 1 or len(np.unique(y[:TRAIN_ON])) < 2:
        return None
    pca, svc = fitted(x, y)
    # scikit-learn turns the sign of its two-class machine, against that of each pair among more classes.
    sign = -1 if len(svc.classes_) == 2 else 1
    return ReferenceClassifier(
        pca.mean_,
        pca.components_,
        svc.support_vectors_,
        sign * svc.dual_coef_,
        sign * svc.intercept_,
        svc.n_support_,
        np.asarray(svc._gamma),
        svc.classes_,
    )


def fitted(x: np.ndarray, y: np.ndarray) -> tuple:
    """The PCA and the SVC themselves, for two classes or more."""
    # scikit-learn takes a second to import, and scoring needs ``predict`` alone.
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

    x, y = x[:TRAIN_ON], y[:TRAIN_ON]
    flat = x.reshape(len(x), -1)
    pca = PCA(min(COMPONENTS, *flat.shape), random_state=0)
    return pca, SVC(C=5.0).fit(pca.fit_transform(flat), y)


def save(classifier: ReferenceClassifier | None, path: str | Path) -> None:
    """None is a file without arrays."""
    write_npz(path, **(classifier._asdict() if classifier else {}))


def load(path: str | Path) -> ReferenceClassifier | None:
    arrays = read_npz(path)
    return ReferenceClassifier(**arrays) if arrays else None


def perceptual_distance(classifier: ReferenceClassifier, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 (n,) in [0, 1]: how far apart the classifier sees the images ``a`` and ``b`` (n, H, W, C).

    1 − cosine of the two images in the feature space that the machine decides in, which is the last
    representation before its output. Features there have length 1, and their inner product is the kernel, so
    the distance is 1 − exp(−γ ‖P a − P b‖²), P the projection onto the principal components. Two images as
    far apart as two of the data set are on average have 1 − e⁻² = 0.86. It is no model of human perception:
    it does not see what the principal components leave out, such as fine noise.
    """
    apart = ((_projected(classifier, a) - _projected(classifier, b)) ** 2).sum(axis=1)
    return 1 - np.exp(-classifier.gamma * apart)


def _projected(classifier: ReferenceClassifier, images: np.ndarray) -> np.ndarray:
    """float64 (n, K), the principal components of ``images`` (n, H, W, C)."""
    return ((images.reshape(len(images), -1) - classifier.mean) @ classifier.components.T).astype(np.float64)


def predict(classifier: ReferenceClassifier, images: np.ndarray) -> np.ndarray:
    """Classes of ``images`` (n, H, W, C): each pair of classes votes; of equal votes the first class wins."""
    seen = _projected(classifier, images)
    squares = (
        (seen**2).sum(axis=1)[:, None] + (classifier.vectors**2).sum(axis=1) - 2 * seen @ classifier.vectors.T
    )
    kernel = np.exp(-classifier.gamma * squares)
    ends = np.cumsum(classifier.support)
    own = [slice(end - count, end) for end, count in zip(ends, classifier.support, strict=True)]
    votes = np.zeros((len(images), len(own)), int)
    for index, (a, b) in enumerate(zip(*np.triu_indices(len(own), 1), strict=True)):
        margin = (
            kernel[:, own[a]] @ classifier.dual[b - 1, own[a]]
            + kernel[:, own[b]] @ classifier.dual[a, own[b]]
        )
        votes[np.arange(len(images)), np.where(margin + classifier.intercept[index] > 0, a, b)] += 1
    return classifier.classes[votes.argmax(axis=1)]


def accuracy(classifier: ReferenceClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of ``images`` (n, H, W, C) that are classified as ``labels`` (n,); NaN for no images."""
    if not len(images):
        return float("nan")
    return float((predict(classifier, images) == labels).mean())
