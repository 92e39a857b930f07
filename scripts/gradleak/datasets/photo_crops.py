"""Small colour images inside installed packages: pieces of ten photographs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gradleak.datasets.examples import Examples

SIDE = 32  # pixels
CROPS = 120  # a photograph
# Class → package, file in it, and the height in pixels that the photograph is scaled to: such that the grid
# has more than CROPS squares, twice as many where much is sky, and a crop shows a part of a thing.
PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png", 384),
    "chelsea": ("skimage", "data/chelsea.png", 300),
    "coffee": ("skimage", "data/coffee.png", 400),
    "rocket": ("skimage", "data/rocket.jpg", 427),
    "motorcycle": ("skimage", "data/motorcycle_left.png", 320),
    "retina": ("skimage", "data/retina.jpg", 416),
    "ihc": ("skimage", "data/ihc.png", 384),
    "hubble": ("skimage", "data/hubble_deep_field.jpg", 384),
    "china": ("sklearn", "datasets/images/china.jpg", 427),
    "flower": ("sklearn", "datasets/images/flower.jpg", 427),
}


def photo_crops() -> Examples:
    """1,200 crops of 32×32×3 of the ten colour photographs in scikit-image and scikit-learn, 120 each; the
    class is the photograph.

    The crops of a photograph are the squares of one grid, so no two of them overlap, and no pixel is in two
    pools. They are those of the grid with the greatest contrast: flat ones, such as the black corners of
    ``retina``, would all be the same image.
    """
    x = np.concatenate([_crops(*one) for one in PHOTOGRAPHS.values()])
    return Examples(x, np.repeat(np.arange(len(PHOTOGRAPHS)), CROPS).astype(np.int64), len(PHOTOGRAPHS))


def _crops(package: str, file: str, height: int) -> np.ndarray:
    """uint8 (CROPS, SIDE, SIDE, 3), in the order of the grid."""
    from PIL import Image

    (folder,) = find_spec(package).submodule_search_locations  # the package itself is not imported
    with Image.open(Path(folder) / file) as image:
        width = round(image.width * height / image.height)
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX))
    rows, columns = height // SIDE, width // SIDE
    grid = pixels[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
    crops = grid.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    contrast = crops.std(axis=(1, 2)).mean(axis=1)  # within each channel
    return crops[np.sort(np.argsort(-contrast, kind="stable")[:CROPS])]
