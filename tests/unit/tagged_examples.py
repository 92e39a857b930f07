"""Examples of which each says which one it is."""

import numpy as np

from gradleak.datasets.examples import Examples

CLASSES = 10


def tagged(per_class=40, classes=CLASSES):
    """A data set in which every image says which one it is."""
    y = np.repeat(np.arange(classes), per_class)
    x = np.arange(len(y), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    return Examples(x, y, classes)


def identities(images):
    return [image.tobytes() for image in images.x]
