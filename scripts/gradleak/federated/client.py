"""The simulated federated client: one private batch in, one shared update out (FedSGD, FedAvg).

A target's *global model* is shared by all its draws, as a server would send it to all clients of a round;
each draw is one client with its own data and its own update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import keras
import numpy as np

from gradleak.artifacts.leak import Leak
from gradleak.datasets.examples import Examples
from gradleak.federated import client_data, defences, rounds
from gradleak.federated.models import build
from gradleak.federated.options import ClientOptions
from gradleak.federated.own_model import own_model
from gradleak.images import to_float
from gradleak.mapping.preprocess import in_front


@dataclass(frozen=True)
class Draw:
    """One round of a client, or of several whose deltas are averaged.

    private: the images of all of them. delta: as shared, with the client's own sign and scale, in the order
    of ``model.trainable_variables``. meta: what the server publishes.
    """

    private: Examples
    delta: list[np.ndarray]
    meta: dict


def global_model(options: ClientOptions, pretraining: Examples, received: Leak | None = None) -> keras.Model:
    """The model that the server sends out: as it starts, or trained on other clients' data (Adam, 1e-3, batch
    32).

    received: the user's own model, where ``options`` name one.
    """
    size, images = 32, len(pretraining.y)
    model = _starting_model(options, received, pretraining.x.shape[1:], pretraining.classes)
    steps = round(options.pretrain_epochs * images / size)
    if steps:
        loss = rounds.loss_of(pretraining.y, model.output_shape[-1])
        model.compile(keras.optimizers.Adam(1e-3), loss)
        rng = np.random.default_rng([options.model_seed, crc32(b"pretrain")])
        order = np.concatenate([rng.permutation(images) for _ in range(steps * size // images + 1)])
        for step in range(steps):
            index = order[step * size : (step + 1) * size]
            model.train_on_batch(to_float(pretraining.x[index]), pretraining.y[index])
    return model


def _starting_model(
    options: ClientOptions, received: Leak | None, shape: tuple[int, int, int], classes: int
) -> keras.Model:
    if received is not None:
        model = own_model(options, received, shape, classes)
    else:
        model = build(options.model, shape, classes, options.model_seed, options.width)
    if options.preprocess is None:
        return model
    rescaled = keras.models.model_from_json(in_front(model.to_json(), options.preprocess))
    rescaled.set_weights(model.get_weights())
    return rescaled


def simulate(options: ClientOptions, model: keras.Model, pool: Examples, draws: list[int]) -> list[Draw]:
    """The updates of ``draws``, each of clients that start from ``model``'s weights (which are restored)."""
    gradient = rounds.gradient_function(model)
    made = []
    for draw in draws:
        first = draw * options.clients
        clients = range(first, first + options.clients)
        made.append(_aggregated([_shared(options, model, gradient, pool, one) for one in clients], options))
    return made


def leak_of(model: keras.Model, draw: Draw) -> Leak:
    """The artifacts of ``draw``. ``model`` has the weights from which its clients started."""
    before = {v.path: v.numpy() for v in model.trainable_variables}
    return Leak(model.to_json(), before, dict(zip(before, draw.delta, strict=True)), draw.meta)


def _shared(
    options: ClientOptions, model: keras.Model, gradient: Callable, pool: Examples, client: int
) -> tuple[Examples, list[np.ndarray]]:
    """The private images of one client, and the delta that it shares."""
    seed = [client, crc32(f"client:{options.dataset}".encode())]
    private = client_data.draw_batch(pool, options.client_samples, options.alpha, seed)
    factor = np.float32(options.scale if options.sign == "after_minus_before" else -options.scale)
    change = [factor * part for part in rounds.local_training(options, model, gradient, private, seed)]
    rng = np.random.default_rng([*seed, crc32(b"defence")])
    return private, defences.defend(
        change,
        rng,
        clip_norm=options.clip_norm,
        noise_std=options.noise_std,
        top_k=options.top_k,
        precision=options.precision,
    )


def _aggregated(clients: list[tuple[Examples, list[np.ndarray]]], options: ClientOptions) -> Draw:
    """The mean of what ``clients`` share; one alone stays as it is."""
    images, deltas = zip(*clients, strict=True)
    x, y = (np.concatenate([getattr(own, name) for own in images]) for name in ("x", "y"))
    private = Examples(x, y, images[0].classes)
    return Draw(private, [np.mean(parts, axis=0) for parts in zip(*deltas, strict=True)], _published(options))


def _published(options: ClientOptions) -> dict:
    """The settings of the protocol, which the server knows; nothing about the clients' labels or images.

    Several clients are described as one whose batch in each step is theirs together.
    """
    return {
        "dataset": options.dataset,
        "alpha": options.alpha,
        "samples": options.clients * options.client_samples,
        "batch_size": options.clients * options.batch_size,
        "local_steps": options.steps,
        "learning_rate": options.learning_rate,
        "optimizer": options.optimizer,
        "momentum": options.momentum if options.optimizer == "momentum" else 0.0,
        "client_weight": options.scale,
        **({"sign": options.sign} if options.sign_in_metadata else {}),
    }
