"""The adversary's simulation of the client: the model on public and noise images, and shadow clients.

A shadow client trains on public images, whose labels are known, under the published settings. With what is
collected here the label methods need nothing of the model but its last layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from gradleak.datasets.examples import Examples
from gradleak.federated import rounds
from gradleak.federated.last_layer import tapped
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.labels.evidence import Public, ShadowClients, class_means, softmax
from gradleak.labels.simulated.compositions import compositions, draw_images
from gradleak.losses import BINARY, PLAIN, Loss, loss_named
from gradleak.mapping.files import MappedBlock
from gradleak.mapping.head import Head, find_head, head_of

IMAGES = 4000  # public images at most
PATH_IMAGES = 500  # of them, followed along the local steps
CLIENTS = 800  # shadow clients in each half of the public images
DUMMIES = 100  # noise images


def published(meta: dict[str, Any], samples: int) -> ClientOptions | None:
    """The client's settings; None where they are missing or invalid. meta: of ``Metadata.values``."""
    if meta.get("local_steps", 1) is None:
        return None  # several, or contradictory
    stated = {
        "samples": samples,
        "batch_size": meta.get("batch_size") or samples,
        "local_steps": meta.get("local_steps", 1),
        "learning_rate": meta.get("learning_rate"),
        "optimizer": meta.get("optimizer", "sgd"),
    }
    if meta.get("optimizer") == "nesterov" and stated["local_steps"] == 1:
        stated["optimizer"] = "sgd"  # of the first step only the scale differs
    if meta.get("optimizer") == "momentum":
        stated["momentum"] = meta.get("momentum")
    try:
        return ClientOptions(**stated)
    except ValueError:
        return None


def delta_per_gradient(report: dict[str, Any]) -> float:
    """A client's own delta (after − before) per unit of gradient: the mapping's scale without the client's
    weight.
    """
    weight = report["metadata"]["read"].get("client_weight")
    return report["scale"]["value"] / (weight if isinstance(weight, int | float) and weight > 0 else 1.0)


def final_weights(model: keras.Model, block: MappedBlock, per_gradient: float) -> list[list[np.ndarray]]:
    """The trainable variables of each draw's client after its round, from the update that it shared."""
    start = rounds.weights_of(model)
    return [
        [value - per_gradient * block.gradients[i][index] for i, value in enumerate(start)]
        for index in range(len(block.draws))
    ]


def loss_of(block: MappedBlock, report: dict[str, Any]) -> Loss:
    """The client's loss with its reduction; of a model with two logits for one sigmoid the cross-entropy."""
    found = loss_named(report["loss"]["value"])
    return loss_named(block.loss) if found.name == BINARY else found


@dataclass(frozen=True)
class Rounds:
    """The client's rounds: its settings, None if they are not known; delta per unit of gradient, of
    ``delta_per_gradient``; and its loss.
    """

    options: ClientOptions | None
    per_gradient: float
    loss: Loss = PLAIN


def simulate(
    model: keras.Model,
    public: Examples,
    settings: Rounds,
    finals: list[list[np.ndarray]],
    clients: int = CLIENTS,
) -> Public:
    """All fields of Public. Those of the starting model alone for an update of one step, without settings,
    without a last dense layer, or without public images, of which ``public`` may hold none.

    model: at the round's starting weights, which are restored. finals: each draw's trainable variables after
    its round; may be empty. clients: shadow clients in each half.
    """
    rng, options = np.random.default_rng(0), settings.options
    public = public.take(slice(IMAGES))
    adversary = _Adversary(model, tapped(model), public)
    known = adversary.at_start(rng)
    head, _ = find_head(model)
    if options is None or options.steps == 1 or head is None or not len(public.y):
        return known
    ends = adversary.at_end(finals)
    classes = model.output_shape[-1]
    gradient = rounds.gradient_function(model, settings.loss)
    training = _Training(options, model, gradient, public, settings.per_gradient, head)
    even = np.full((1, classes), -(-options.client_samples // classes))
    images = rng.permutation(draw_images(rng, even, public.y, np.arange(len(public.y)))[0])
    path: list[np.ndarray] = []
    training.change(images[: options.client_samples], [0], lambda: path.append(adversary.path_logits()))
    parts = []
    for half in (0, 1):
        counts = compositions(rng, clients, options.client_samples, classes)
        index = draw_images(rng, counts, public.y, np.flatnonzero(known.fold == half))
        seeds = [[half, number] for number in range(clients)]
        found = [
            training.gradients(rng.permutation(row), seed) for row, seed in zip(index, seeds, strict=True)
        ]
        weight, bias = (np.stack(part).astype(np.float32) for part in zip(*found, strict=True))
        parts.append(ShadowClients(counts, weight, bias, np.full(clients, half)))
    shadow = ShadowClients(*(np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])))
    return replace(
        known, path=np.stack(path), path_labels=public.y[:PATH_IMAGES], shadow_clients=shadow, **ends
    )


@dataclass(frozen=True)
class _Adversary:
    """The model, with the input of its last layer (``tapped``), and the public images."""

    model: keras.Model
    tapped: keras.Model
    public: Examples

    def at_start(self, rng: np.random.Generator) -> Public:
        """Public and noise images at the model as it is."""
        x = to_float(self.public.x)
        width = self.tapped.output_shape[0][-1]
        features = self.tapped.predict(x, batch_size=256, verbose=0)[0] if len(x) else np.zeros((0, width))
        fold = rng.permutation(len(x)) % 2
        noise = rng.uniform(size=(DUMMIES, *x.shape[1:])).astype(np.float32)
        return Public(features, self.public.y, fold, self.tapped.predict(noise, verbose=0)[0])

    def at_end(self, finals: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
        """``end_softmax`` and ``end_feature_sum`` of Public; nothing without ``finals``. The weights are
        restored.
        """
        if not finals:
            return {}
        start, labels = rounds.weights_of(self.model), self.public.y[:PATH_IMAGES]
        classes = self.model.output_shape[-1]
        x = to_float(self.public.x)[:PATH_IMAGES]
        softmaxes, sums = [], []
        for final in finals:
            rounds.assign(self.model, final)
            features, logits = self.tapped.predict(x, batch_size=256, verbose=0)
            softmaxes.append(class_means(softmax(logits), labels, classes))
            sums.append(class_means(features.sum(axis=1), labels, classes))
        rounds.assign(self.model, start)
        return {"end_softmax": np.stack(softmaxes), "end_feature_sum": np.stack(sums)}

    def path_logits(self) -> np.ndarray:
        """Logits (P', C) of the first public images at the model as it is."""
        return self.tapped.predict_on_batch(to_float(self.public.x[:PATH_IMAGES]))[1]


@dataclass(frozen=True)
class _Training:
    """Local rounds of shadow clients under ``options``, with public images."""

    options: ClientOptions
    model: keras.Model
    gradient: Callable
    public: Examples
    per_gradient: float  # delta per unit of gradient
    head: Head

    def change(
        self, index: np.ndarray, seed: list[int], before_step: Callable[[], None] = lambda: None
    ) -> list[np.ndarray]:
        """After − before of a client with the public images ``index``, see ``rounds.local_training``."""
        private = self.public.take(index)
        return rounds.local_training(self.options, self.model, self.gradient, private, seed, before_step)

    def gradients(self, index: np.ndarray, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Pseudo-gradients of the last layer's kernel [d, C] and bias [C]; NaN where it has no bias."""
        kernel, bias = head_of(self.change(index, seed), self.head)
        bias = np.full(kernel.shape[1], np.nan) if bias is None else -bias / self.per_gradient
        return -kernel / self.per_gradient, bias
