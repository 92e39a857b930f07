"""The judge: does an independent classifier recognise the reconstruction as its true class?

A support vector machine on principal components, trained on the *others* pool: it shares neither its kind nor its
data with the target model's gradient, and has never seen a private or a public image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skops.io
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from gradleak.files import replacing

COMPONENTS = 40
TRAIN_ON = 8000


def train(x: np.ndarray, y: np.ndarray) -> Pipeline:
    """x: float32 (n, H, W, C) in [0, 1]; y: int (n,)."""
    x, y = x[:TRAIN_ON], y[:TRAIN_ON]
    return make_pipeline(PCA(COMPONENTS, random_state=0), SVC(C=5.0)).fit(x.reshape(len(x), -1), y)


def save(judge: Pipeline, path: str | Path) -> None:
    with replacing(path) as temporary:
        skops.io.dump(judge, temporary)


def load(path: str | Path) -> Pipeline:
    return skops.io.load(path)  # refuses every type outside skops' own list of trusted ones


def accuracy(judge: Pipeline, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of ``images`` (n, H, W, C) recognised as ``labels`` (n,); nan for none."""
    if not len(images):
        return float("nan")
    return float((judge.predict(images.reshape(len(images), -1)) == labels).mean())
