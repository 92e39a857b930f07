"""The nets of frameworks/torch_nets.py: their files in onnx_files/, weights, batches and references of each.

Nothing here needs PyTorch. Of each gradient the reference keeps its norm and its products with DIRECTIONS
random directions. The mean square of a difference's products is the square of its norm.
"""

import zlib
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "onnx_files"
DIRECTIONS = 8
SHAPES = {
    "mlp": (1, 8, 8),
    "lenet": (1, 12, 12),
    "mnist_example": (1, 16, 16),
    "vgg11": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "resnet20_bn": (3, 12, 12),
    "resnet20_gn": (3, 12, 12),
    "depthwise": (3, 12, 12),
    "branches": (2, 8, 8),
}
CLASSES = {"mlp": 5, "lenet": 7, "depthwise": 5, "branches": 4}
WITH_BATCH_NORM = ("resnet18", "resnet20_bn", "depthwise")


def _rng(*names):
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])


def weights_of(shapes):
    """Key of the state dict → float32 array of its shape. Variances are positive, scales near 1."""
    found = {}
    for key, shape in shapes.items():
        rng = _rng("weights", key)
        values = rng.normal(0, 1, shape)
        if key.endswith("running_var"):
            values = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            values = 0.2 * values + (key.endswith("weight"))
        else:
            values *= np.sqrt(2 / np.prod(shape[1:]))
        found[key] = values.astype(np.float32)
    return found


def batch_of(name, images=4):
    """(images [N, C, H, W] float32, classes [N])."""
    rng = _rng("batch", name)
    x = rng.normal(0, 1, (images, *SHAPES[name])).astype(np.float32)
    return x, rng.integers(0, CLASSES.get(name, 6), images)


def modes_of(name):
    """With the moving statistics, and with those of the batch."""
    return ("eval", "train") if name in WITH_BATCH_NORM else ("eval",)


def reference_of(mode, outputs, gradients):
    """Arrays of a reference file. gradients: by the key of the state dict, in PyTorch's layout."""
    found = {f"{mode}/outputs": outputs.astype(np.float32)}
    for key, gradient in gradients.items():
        flat = gradient.astype(np.float64).ravel()
        directions = _rng("directions", key).normal(size=(DIRECTIONS, flat.size))
        found[f"{mode}/{key}"] = np.array([np.linalg.norm(flat), *(directions @ flat)])
    return found


def relative_error(found, reference):
    """Of a gradient's row, an estimate of the norm of the difference, relative to the reference's."""
    difference = np.sqrt(np.mean(np.square(found[1:] - reference[1:])))
    return float(difference / max(reference[0], 1e-12))
