"""The weights of the round: trained or not, complete, and whether the model works with them.

A model that is loaded wrongly gives no error. Its gradients are those of another function, and no attack
finds anything. Public images show it: a trained model is right on them, unless its pixels have another range,
or the rows of a kernel another order, than the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gradleak.mapping.classifier import Public, accuracy
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import UNKNOWN, Finding
from gradleak.mapping.head import before_identities, layer_of

if TYPE_CHECKING:
    import keras

BETTER = 0.2  # accuracy above chance from which a model counts as trained
# Of an alternative, above the accuracy of the model as it is. Clients of 0.02 to 3 epochs of training gain at
# most 0.18 by any of them (tests/unit/mapping/test_weights.py trains such clients).
FAR = 0.4
# Of another range of pixels, above the accuracy of a model that is right on at least WORKS. There the same
# clients gain at most 0.02.
CLEAR, WORKS = 0.08, 0.7
# A model that is this little above chance does not work. The same clients are above it, or have biases below
# TRAINED_BIAS.
AT_CHANCE = 0.1
TRAINED_BIAS = 0.01  # root mean square of a bias, or of a scale minus 1, of a model that was clearly trained
FEWEST = 50  # public images, below which an accuracy says little
STATISTICS = ("moving_mean", "moving_variance")


def find_weights(public: Public) -> Finding:
    """value: trained or untrained, or unknown where there is a doubt."""
    if not public.has_images:
        return _by_weights(public)
    evidence = (
        f"the model is right on {public.accuracy:.0%} of public images; "
        f"the most frequent class has {public.chance:.0%}"
    )
    if public.accuracy > public.chance + BETTER:
        return Finding("trained", 0.95, evidence)
    if public.doubt:
        return Finding(UNKNOWN, 0.0, f"{evidence}. {public.doubt}")
    return Finding("untrained", 0.95, evidence)


def _by_weights(public: Public) -> Finding:
    """``find_weights`` without public images."""
    why = "there are no public images, and by the weights alone "
    if public.is_trained is None:
        return Finding(
            UNKNOWN, 0.0, f"{why}it does not show whether the model was trained. {public.doubt}".strip()
        )
    if public.is_trained:
        return Finding("trained", 0.8, f"{why}biases or shifts are far from initial values")
    return Finding(
        "untrained", 0.8, f"{why}every bias and shift has the constant value of an untrained layer"
    )


def doubt(model: keras.Model, missing: tuple[str, ...], public: Public, x: np.ndarray, y: np.ndarray) -> str:
    """Why the model with the weights of the file may not be the client's; '' if nothing speaks against it.

    missing: paths of the variables that the file does not have. x: public images, float32 [P, H, W, C]. y:
    int [P]. Raises MappingError if it is surely another model: a kernel is missing, or the model works only
    with another range of pixels, order of rows or numbers of classes.
    """
    without = _without_statistics(model, missing, public)
    if without and not public.has_images:
        return (
            f"the moving statistics of {without} are not in the file of weights, and there are no public "
            "images to show whether the model works with mean 0 and variance 1"
        )
    if not public.has_images:
        return ""
    if without:
        return (
            f"the moving statistics of {without} are not in the file of weights. With mean 0 and variance 1 "
            f"the model is right on {public.accuracy:.0%} of public images, but its activations are not the "
            "client's"
        )
    if y.ndim == 1:
        _refuse_other_classes(public)
    rescaled = _other_pixels(model, public, x, y)
    if rescaled:
        return rescaled
    _refuse_other_rows(model, public, x, y)
    if public.accuracy < public.chance + AT_CHANCE and is_clearly_trained(model) and len(y) >= FEWEST:
        return (
            f"the weights were trained, but the model is right on {public.accuracy:.0%} of public images: "
            "probably the client's pixels are not in [0, 1] (put its Rescaling into the model), its data are "
            "of another kind (set `dataset`), or tensors are in another order"
        )
    return ""


def _without_statistics(model: keras.Model, missing: tuple[str, ...], public: Public) -> str:
    """The BatchNormalization layers whose statistics are missing and not known to be initial ones, or ''.

    Raises MappingError if another variable is missing, or if the model does not work without the statistics.
    """
    save = "save all weights (model.get_weights(), or state_dict() of PyTorch)"
    others = [path for path in missing if path.rpartition("/")[2] not in STATISTICS]
    if others:
        raise MappingError(
            f"weights before: no tensor for {', '.join(others)}, which the model needs although the client "
            f"does not train it; {save}"
        )
    names = [
        layer.name
        for layer in model.layers
        if {variable.path for variable in layer.weights} & set(missing) and not _is_initial(layer)
    ]
    if names and public.accuracy <= public.chance + BETTER:
        raise MappingError(
            f"weights before: the moving statistics of {', '.join(names)} are not in the file, and with mean "
            f"0 and variance 1 the model is right on {public.accuracy:.0%} of public images only; {save}"
        )
    return ", ".join(names)


def _is_initial(layer: keras.Layer) -> bool:
    """Whether a BatchNormalization has the scale 1 and the shift 0 that it had before any training."""
    ends = [(layer.gamma, 1.0) if layer.scale else None, (layer.beta, 0.0) if layer.center else None]
    known = [bool(np.all(pair[0].numpy() == pair[1])) for pair in ends if pair]
    return bool(known) and all(known)


def is_clearly_trained(model: keras.Model) -> bool:
    """Whether a bias, scale or shift is far from the initial values of Keras and of PyTorch.

    PyTorch draws biases and kernels uniformly from ±1/√(inputs). A constant bias may be initial, too.
    """
    for layer in model.layers:
        kernel, bias = getattr(layer, "kernel", None), getattr(layer, "bias", None)
        moved = [v.numpy() for v in (bias, getattr(layer, "beta", None)) if v is not None]
        if getattr(layer, "gamma", None) is not None:
            moved.append(layer.gamma.numpy() - 1)
        for values in moved:
            if np.ptp(values) == 0 or np.sqrt(np.mean(np.square(values))) < TRAINED_BIAS:
                continue
            if kernel is None or bias is None:
                return True
            weights = kernel.numpy()
            bound = 1.001 / np.sqrt(weights[..., 0].size)
            if np.abs(weights).max() > bound or np.abs(values).max() > bound:
                return True
    return False


def _other_pixels(model: keras.Model, public: Public, x: np.ndarray, y: np.ndarray) -> str:
    """The evidence that the client's pixels have another range, or ''. Raises MappingError if it is proof.

    Of models with BatchNormalization it is none: after a short training the moving statistics lag behind,
    and a rescaling of the images makes up for that.
    """
    if any(type(layer).__name__ == "BatchNormalization" for layer in model.layers):
        return ""
    mean, deviation = float(x.mean()), float(x.std()) or 1.0
    ranges: dict[str, tuple[float, float]] = {
        "in [0, 255]": (255.0, 0.0),
        "in [-1, 1]": (2.0, -1.0),
        "standardised": (1 / deviation, -mean / deviation),
        "inverted": (-1.0, 1.0),
    }
    alternatives = {
        name: partial(accuracy, model, (x * scale + offset).astype(np.float32), y)
        for name, (scale, offset) in ranges.items()
    }
    found = _better(public, alternatives, len(y), CLEAR if public.accuracy >= WORKS else FAR)
    if not found:
        return ""
    scale, offset = ranges[next(iter(found))]
    text = (
        f"the model is right on {public.accuracy:.0%} of public images with pixels in [0, 1], but on "
        f"{_listed(found)}, so the client's images were probably rescaled: put that into the model, as its "
        f"first layer (here keras.layers.Rescaling({scale:.4g}, offset={offset:.4g})), and save its JSON"
    )
    if max(found.values()) > public.accuracy + FAR:
        raise MappingError(text)
    return text


def _refuse_other_rows(model: keras.Model, public: Public, x: np.ndarray, y: np.ndarray) -> None:
    """Raise MappingError if the model works with the rows of its dense kernels in another order."""
    images = {}
    for layer in model.layers:
        if type(layer).__name__ != "Dense":
            continue
        source = layer_of(before_identities(layer.input))
        if type(source).__name__ in ("Flatten", "Reshape") and len(source.input.shape) == 4:
            height, width, channels = source.input.shape[1:]
            if channels > 1 and height * width > 1:
                images[layer] = height, width, channels
    if not images:
        return

    def reordered(channels_first: bool) -> float:
        kept = {layer: layer.kernel.numpy() for layer in images}
        for layer, (h, w, c) in images.items():
            shape, axes = ((c, h, w, -1), (1, 2, 0, 3)) if channels_first else ((h, w, c, -1), (2, 0, 1, 3))
            layer.kernel.assign(kept[layer].reshape(shape).transpose(axes).reshape(kept[layer].shape))
        share = accuracy(model, x, y)
        for layer, value in kept.items():
            layer.kernel.assign(value)
        return share

    alternatives = {
        "with channels first": partial(reordered, True),
        "with channels last": partial(reordered, False),
    }
    found = _better(public, alternatives, len(y), FAR)
    if found:
        raise MappingError(
            f"the model is right on {public.accuracy:.0%} of public images, but on {_listed(found)} in the "
            f"rows of {', '.join(layer.kernel.path for layer in images)}: PyTorch flattens images channels "
            "first, Keras channels last. Reorder the rows in the weights and in the delta, or save both with "
            "the names of their framework"
        )


def _refuse_other_classes(public: Public) -> None:
    """Raise MappingError if the model tells the public classes apart, but under other numbers."""
    found = public.softmax.argmax(axis=1)
    own = np.arange(len(found))
    least = max(0.5, 1.5 / len(own))  # the larger of two probabilities is above one half in any model
    if (np.sort(found) == own).all() and (found != own).any() and public.softmax.max(axis=1).min() > least:
        pairs = ", ".join(f"{c} is its {k}" for c, k in zip(own, found, strict=True) if c != k)
        raise MappingError(
            f"the model numbers the classes of the public images in another way ({pairs}): reorder the last "
            "layer in the weights and in the delta, so that class numbers agree"
        )


def _better(
    public: Public, alternatives: Mapping[str, Callable[[], float]], images: int, margin: float
) -> dict[str, float]:
    """The alternatives by which the accuracy is more than ``margin`` higher, with it, the best one first."""
    least = public.accuracy + margin
    if least >= 1 or images < FEWEST:
        return {}
    measured = {name: measure() for name, measure in alternatives.items()}
    found = {name: share for name, share in measured.items() if share > least}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _listed(found: dict[str, float]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in found.items())
