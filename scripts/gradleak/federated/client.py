"""The simulated federated client: one private batch in, one shared update out (FedSGD, FedAvg).

A target's *global model* is shared by all its draws, as a server would send it to all clients of a round;
each draw is one client with its own data and its own update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from gradleak.federated import datasets, defences
from gradleak.federated.datasets import Images
from gradleak.federated.models import build
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

if TYPE_CHECKING:
    import keras

    from gradleak.artifacts.leak import Leak


@dataclass(frozen=True)
class Draw:
    """One round of a client, or of several whose deltas are averaged. ``delta`` is as shared: sign and scale are the client's own."""

    private: Images
    delta: list[np.ndarray]  # in the order of model.trainable_variables
    meta: dict


def global_model(options: ClientOptions, others: Images) -> keras.Model:
    """The model that the server sends out: untrained, or trained on other clients' data (Adam, 1e-3, batch 32)."""
    import keras

    size, images = 32, len(others.y)
    model = build(options.model, datasets.SHAPES[options.dataset], options.model_seed, options.width)
    steps = round(options.pretrain_epochs * images / size)
    if steps:
        model.compile(
            keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        rng = np.random.default_rng([options.model_seed, crc32(b"pretrain")])
        order = np.concatenate([rng.permutation(images) for _ in range(steps * size // images + 1)])
        for step in range(steps):
            index = order[step * size : (step + 1) * size]
            model.train_on_batch(to_float(others.x[index]), others.y[index])
    return model


def simulate(options: ClientOptions, model: keras.Model, pool: Images, draws: list[int]) -> list[Draw]:
    """The updates of ``draws``, each of clients that start from ``model``'s weights (which are restored)."""
    gradient = gradient_function(model)
    made = []
    for draw in draws:
        first = draw * options.clients
        clients = range(first, first + options.clients)
        made.append(_aggregated([_shared(options, model, gradient, pool, one) for one in clients], options))
    return made


def leak_of(model: keras.Model, draw: Draw) -> Leak:
    """The artifacts of ``draw``, whose clients started from the weights that ``model`` has."""
    from gradleak.artifacts.leak import Leak

    before = {v.path: v.numpy() for v in model.trainable_variables}
    return Leak(model.to_json(), before, dict(zip(before, draw.delta, strict=True)), draw.meta)


def _shared(
    options: ClientOptions, model: keras.Model, gradient: Callable, pool: Images, client: int
) -> tuple[Images, list[np.ndarray]]:
    """The private images of one client, and the delta that it shares."""
    seed = [client, crc32(f"client:{options.dataset}".encode())]
    private = datasets.draw_batch(pool, options.client_samples, options.alpha, seed)
    factor = np.float32(options.scale if options.sign == "after_minus_before" else -options.scale)
    change = [factor * part for part in local_training(options, model, gradient, private, seed)]
    rng = np.random.default_rng([*seed, crc32(b"defence")])
    return private, defences.defend(
        change,
        rng,
        clip_norm=options.clip_norm,
        noise_std=options.noise_std,
        top_k=options.top_k,
        precision=options.precision,
    )


def _aggregated(clients: list[tuple[Images, list[np.ndarray]]], options: ClientOptions) -> Draw:
    """The mean of what ``clients`` share; one alone stays as it is."""
    images, deltas = zip(*clients, strict=True)
    private = Images(np.concatenate([own.x for own in images]), np.concatenate([own.y for own in images]))
    return Draw(private, [np.mean(parts, axis=0) for parts in zip(*deltas, strict=True)], _published(options))


def gradient_function(model: keras.Model) -> Callable:
    """(x float32 [N, H, W, C], y int [N]) → gradients of the mean cross-entropy, compiled."""
    import tensorflow as tf

    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(reduce_retracing=True)
    def gradient(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=False))
        return tape.gradient(value, model.trainable_variables)

    return gradient


def local_training(
    options: ClientOptions,
    model: keras.Model,
    gradient: Callable,
    private: Images,
    seed: list[int],
    before_step: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """After − before of one client that trains ``model`` on ``private``; the model's weights are restored.

    gradient: of ``gradient_function``. before_step: called before each local step, to look at the model on its way.
    """
    before = [v.numpy() for v in model.trainable_variables]
    optimizer = _optimizer(options)
    optimizer.build(model.trainable_variables)
    for index in _batches(options, seed):
        before_step()
        x, y = to_float(private.x[index]), private.y[index]
        optimizer.apply_gradients(zip(gradient(x, y), model.trainable_variables, strict=True))
    # Subtracted in float32, as a client would: the rounding noise in the leak is part of the problem.
    change = [v.numpy() - b for v, b in zip(model.trainable_variables, before, strict=True)]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    return change


def _optimizer(options: ClientOptions) -> keras.optimizers.Optimizer:
    import keras

    if options.optimizer == "adam":
        return keras.optimizers.Adam(options.learning_rate)
    momentum = options.momentum if options.optimizer == "momentum" else 0.0
    return keras.optimizers.SGD(options.learning_rate, momentum=momentum)


def _batches(options: ClientOptions, seed: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng([*seed, crc32(b"order")])
    n, size = options.client_samples, options.batch_size
    batches: list[np.ndarray] = []
    while len(batches) < options.steps:
        order = rng.permutation(n)
        batches += [order[i : i + size] for i in range(0, n, size)]
    return batches[: options.steps]


def _published(options: ClientOptions) -> dict:
    """What a server knows of its own protocol. Nothing about the clients' labels or images.

    Of several clients, what one would be whose steps were theirs taken together.
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
