"""The picture of a run: true images, each above its reconstruction."""

from __future__ import annotations

import numpy as np

from gradleak.images import as_picture

GRID_COLUMNS = 8
MOST_IMAGES = 32
ENLARGED = 3  # MNIST is small on a screen
FRAME = 96  # grey level of the line around an image


def of_trial(row: dict, pairs: dict, index: int) -> np.ndarray | None:
    """The grid of one trial; None for label trials, failed trials, and attacks that accepted no image."""
    if row["status"] != "ok" or row["attack"] == "labels" or not pairs["pairs"][index]:
        return None
    return grid(pairs["found"][index], pairs["truth"][index], int(pairs["pairs"][index]))


def grid(found: np.ndarray, truth: np.ndarray, pairs: int) -> np.ndarray:
    """uint8 [height, width, 3]: rows of true images (where known), each above its reconstruction.

    found, truth: uint8 [n, height, width, channels]. pairs: how many of them are images, the rest is padding.
    """
    pairs = max(1, min(pairs, MOST_IMAGES, len(found)))
    found, truth = as_picture(found), as_picture(truth)
    rows = []
    for at in range(0, pairs, GRID_COLUMNS):
        for source in (truth, found) if len(truth) else (found,):
            shown = [
                np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=FRAME)
                for image in source[at : min(at + GRID_COLUMNS, pairs)]
            ]
            shown += [np.zeros_like(shown[0])] * (min(GRID_COLUMNS, pairs) - len(shown))
            rows.append(np.concatenate(shown, axis=1))
    picture = np.concatenate(rows, axis=0)
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    return picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
