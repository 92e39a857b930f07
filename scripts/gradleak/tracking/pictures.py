"""The picture of a run: true images, each above its reconstruction."""

from __future__ import annotations

import numpy as np

from gradleak.images import as_picture

WIDTH, HEIGHT = 720, 720  # pixels of every picture: the cards of the UI's grid are squares
MOST_IMAGES = 32
FRAME = 96  # grey level of the line around an image
BLANK = 255  # of where no image is


def of_trial(row: dict, pairs: dict, index: int) -> np.ndarray | None:
    """The grid of one trial; None for label trials, failed trials, and attacks that accepted no image."""
    if row["status"] != "ok" or row["attack"] == "labels" or not pairs["pairs"][index]:
        return None
    return grid(pairs["found"][index], pairs["truth"][index], int(pairs["pairs"][index]))


def grid(found: np.ndarray, truth: np.ndarray, pairs: int) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, 3]: rows of true images (where known), each above its reconstruction.

    As many columns as make the images largest. found, truth: uint8 [n, height, width, channels]. pairs: how
    many of them are images, the rest is padding.
    """
    pairs = max(1, min(pairs, MOST_IMAGES, len(found)))
    sources = [
        np.pad(as_picture(images[:pairs]), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=FRAME)
        for images in (truth, found)
        if len(images)
    ]
    columns, scale = _layout(pairs, len(sources), sources[0].shape[1:3])
    rows = []
    for at in range(0, pairs, columns):
        for source in sources:
            shown = list(source[at : at + columns])
            shown += [np.full_like(shown[0], BLANK)] * (columns - len(shown))
            rows.append(np.concatenate(shown, axis=1))
    return _on_canvas(np.concatenate(rows, axis=0), scale)


def _layout(pairs: int, rows_each: int, size: tuple[int, ...]) -> tuple[int, float]:
    """(columns, enlargement) at which images of ``size`` [height, width] are largest; whole if above 1."""
    height, width = size

    def enlargement(columns: int) -> float:
        rows = -(-pairs // columns) * rows_each
        return min(WIDTH / (columns * width), HEIGHT / (rows * height))

    columns = max(range(1, pairs + 1), key=enlargement)
    scale = enlargement(columns)
    return columns, float(int(scale)) if scale >= 1 else scale


def _on_canvas(picture: np.ndarray, scale: float) -> np.ndarray:
    """``picture`` enlarged or reduced, in the middle of a blank picture of the one size."""
    from PIL import Image

    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    height, width = (max(1, int(scale * side)) for side in picture.shape[:2])
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    sized = np.asarray(Image.fromarray(picture).resize((width, height), method))
    canvas = np.full((HEIGHT, WIDTH, 3), BLANK, np.uint8)
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = sized
    return canvas
