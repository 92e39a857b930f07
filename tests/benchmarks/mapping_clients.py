"""Simulated clients of many kinds for bench_mapping.py: losses, local optimisers, defences, layouts.

Each kind changes one thing of a plain client, whose loss is the mean cross-entropy of hard labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from gradleak.datasets import builtin
from gradleak.datasets.examples import Examples
from gradleak.federated import client, client_data, rounds
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

CLASSES = 10
RATES = {
    "sgd": (0.001, 0.01, 0.05, 0.1, 0.5),
    "momentum": (0.001, 0.01, 0.05),
    "adam": (1e-4, 1e-3, 1e-2),
}
MODELS = {
    "digits-8x8": ("fcn3", "lenet_sigmoid", "fcn3_published"),
    "mnist-5k": ("fcn3", "cnn7", "cnn7_dropout", "lenet_sigmoid", "fcn3_published"),
}
Deltas = list[np.ndarray]


def _cross_entropy(y: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """[N], with smoothed labels (1 − ε) e_y + ε / K."""
    target = tf.one_hot(y, CLASSES) * (1 - smoothing) + smoothing / CLASSES
    return tf.nn.softmax_cross_entropy_with_logits(target, logits)


def _weighted(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(np.geomspace(0.2, 5, CLASSES), tf.float32), y) * _cross_entropy(y, logits)


def _focal(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    p = tf.gather(tf.nn.softmax(logits), y, batch_dims=1)
    return (1 - p) ** 2 * _cross_entropy(y, logits)


def _squared(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean((outputs - tf.one_hot(y, CLASSES)) ** 2, axis=1)


def _binary(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    entropies = tf.nn.sigmoid_cross_entropy_with_logits(tf.one_hot(y, CLASSES), logits)
    return tf.reduce_mean(entropies, axis=1)


def _logit_penalty(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return _cross_entropy(y, logits) + 0.01 * tf.reduce_sum(logits**2, axis=1)


def _quantised(delta: Deltas, bits: int) -> Deltas:
    """Uniform quantisation between the extremes of each tensor."""
    found = []
    for part in delta:
        low, step = part.min(), max(np.ptp(part) / (2**bits - 1), 1e-30)
        found.append((low + np.round((part - low) / step) * step).astype(np.float32))
    return found


def _to_signs(delta: Deltas) -> Deltas:
    """The sign of each entry times the mean size of its tensor (Bernstein et al. 2018, Karimireddy 2019)."""
    return [(np.sign(part) * np.abs(part).mean()).astype(np.float32) for part in delta]


def _clipped(delta: Deltas) -> Deltas:
    entries = np.concatenate([np.abs(part[part != 0]).ravel() for part in delta])
    limit = np.float32(np.quantile(entries, 0.97)) if len(entries) else np.float32(1)
    return [np.clip(part, -limit, limit) for part in delta]


def _largest(delta: Deltas, share: float) -> Deltas:
    found = []
    for part in delta:
        least = np.quantile(np.abs(part), 1 - share)
        found.append(np.where(np.abs(part) >= least, part, 0).astype(np.float32))
    return found


class SignSGD(keras.optimizers.SGD):
    """Steps of the size of the learning rate."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.sign(gradient), variable, learning_rate)


@dataclass(frozen=True)
class Kind:
    """loss: (y, logits) → [N]. reduction: of the N. optimizer: rate → a Keras optimiser, None: a plain one.

    l2: λ of the penalty λ/2 ‖w‖² on all variables. proximal: μ of FedProx. change: of the delta before it
    is shared. training: whether layers run in training mode. batch_norm: the models are ``normalised``.
    torch: whether the tensors are shared in PyTorch's layout. rates: learning rates, None: those of SGD.
    family: of the optimiser; None: SGD's or Adam's by the options.
    """

    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = _cross_entropy
    reduction: Callable[[tf.Tensor], tf.Tensor] = tf.reduce_mean
    optimizer: Callable[[float], keras.optimizers.Optimizer] | None = None
    l2: float = 0.0
    proximal: float = 0.0
    change: Callable[[Deltas], Deltas] = lambda delta: delta
    training: bool = False
    batch_norm: bool = False
    torch: bool = False
    rates: tuple[float, ...] | None = None
    family: str | None = None


def _smooth(epsilon: float) -> Kind:
    return Kind(loss=lambda y, z: _cross_entropy(y, z, epsilon))


ADAPTIVE = {"rates": (1e-4, 1e-3, 1e-2), "family": "adam"}
KINDS = {
    "plain": Kind(),
    "smoothing .02": _smooth(0.02),
    "smoothing .05": _smooth(0.05),
    "smoothing .1": _smooth(0.1),
    "smoothing .2": _smooth(0.2),
    "class weights": Kind(loss=_weighted),
    "focal loss": Kind(loss=_focal),
    "squared error of probabilities": Kind(loss=lambda y, z: _squared(y, tf.nn.softmax(z))),
    "squared error of logits": Kind(loss=_squared),
    "binary cross-entropies": Kind(loss=_binary),
    "penalty on the logits": Kind(loss=_logit_penalty),
    "temperature 2": Kind(loss=lambda y, z: _cross_entropy(y, z / 2)),
    "half": Kind(loss=lambda y, z: 0.5 * _cross_entropy(y, z)),
    "sum": Kind(reduction=tf.reduce_sum),
    "AdamW": Kind(optimizer=lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.01), **ADAPTIVE),
    "RMSprop": Kind(optimizer=keras.optimizers.RMSprop, **ADAPTIVE),
    "Adagrad": Kind(optimizer=keras.optimizers.Adagrad, rates=(1e-3, 1e-2), family="adam"),
    "SignSGD": Kind(optimizer=SignSGD, **ADAPTIVE),
    "FedProx": Kind(proximal=0.1),
    "weight decay 5e-4": Kind(l2=5e-4),
    "weight decay .01": Kind(l2=0.01),
    "8 bits": Kind(change=lambda delta: _quantised(delta, 8)),
    "4 bits": Kind(change=lambda delta: _quantised(delta, 4)),
    "signs": Kind(change=_to_signs),
    "entry clipping": Kind(change=_clipped),
    "largest 10 %": Kind(change=lambda delta: _largest(delta, 0.1)),
    "largest 70 %": Kind(change=lambda delta: _largest(delta, 0.7)),
    "BatchNorm, inference": Kind(batch_norm=True),
    "BatchNorm, training": Kind(batch_norm=True, training=True),
    "PyTorch layout": Kind(torch=True),
}


@dataclass(frozen=True)
class Update:
    """One shared update of a kind. before: all weights of the round. delta: of the trainable variables.
    private: the client's images.
    """

    kind: str
    options: ClientOptions
    private: Examples
    before: Deltas
    delta: Deltas
    family: str = field(default="sgd")


def settings(rng: np.random.Generator, kind: str) -> ClientOptions:
    """A random client: data set, model, training before the round, batch, steps, optimiser, class shares."""
    one = KINDS[kind]
    dataset = str(rng.choice(list(MODELS)))
    batch = int(rng.choice([1, 2, 4, 8, 16, 32, 64]))
    # Only plain clients, layouts and BatchNorm models vary the optimiser as well.
    several = one == Kind() or one.torch
    optimizer = str(rng.choice(list(RATES))) if several else "sgd"
    return ClientOptions(
        dataset=dataset,
        model=str(rng.choice(MODELS[dataset])),
        model_seed=int(rng.integers(3)),
        pretrain_epochs=float(rng.choice([0, 1, 5, 15] if dataset == "digits-8x8" else [0, 0.3, 1])),
        batch_size=batch,
        samples=batch * int(rng.choice([1, 1, 2, 4])),
        local_steps=int(rng.choice([1, 1, 2, 5, 10, 30])),
        learning_rate=float(rng.choice(one.rates or RATES[optimizer])),
        optimizer=optimizer,
        alpha=[None, 0.05, 0.15, 0.5, 1.0, 10.0][rng.integers(6)],
    )


def normalised(options: ClientOptions) -> keras.Model:
    """A small net with BatchNormalization after its convolution, and after its hidden dense layer."""
    from keras import layers

    keras.utils.set_random_seed(options.model_seed)
    return keras.Sequential(
        [
            keras.Input(builtin.BUILTIN[options.dataset].shape),
            layers.Conv2D(8, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(64),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(CLASSES),
        ]
    )


def global_model(kind: Kind, options: ClientOptions, pretraining: Examples) -> keras.Model:
    """The model that the server sends out. Trained on ``pretraining`` by Adam, if the options say so."""
    if not kind.batch_norm:
        return client.global_model(options, pretraining)
    model = normalised(options)
    if options.pretrain_epochs:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss)
        epochs = max(1, round(options.pretrain_epochs))
        model.fit(to_float(pretraining.x), pretraining.y, epochs=epochs, verbose=0)
    return model


def update(name: str, options: ClientOptions, model: keras.Model, pool: Examples, draw: int) -> Update:
    """The update of one client. The model's weights are restored."""
    kind = KINDS[name]
    private = client_data.draw_batch(pool, options.client_samples, options.alpha, [draw, 1])
    everything, before = model.get_weights(), rounds.weights_of(model)
    optimizer = kind.optimizer(options.learning_rate) if kind.optimizer else rounds.optimizer_of(options)
    for index in rounds.batches(options, [draw, 1]):
        gradient = _gradient(kind, model, before, to_float(private.x[index]), private.y[index])
        optimizer.apply_gradients(zip(gradient, model.trainable_variables, strict=True))
    after = rounds.weights_of(model)
    model.set_weights(everything)
    delta = kind.change([a - b for a, b in zip(after, before, strict=True)])
    if kind.torch:
        flat = _flattened(model)
        before, delta = as_torch(before, flat), as_torch(delta, flat)
    family = kind.family or ("adam" if options.optimizer == "adam" else "sgd")
    return Update(name, options, private, before if kind.torch else everything, delta, family)


def _gradient(kind: Kind, model: keras.Model, before: Deltas, x: np.ndarray, y: np.ndarray) -> list:
    with tf.GradientTape() as tape:
        value = kind.reduction(kind.loss(tf.constant(y), model(x, training=kind.training)))
    found = tape.gradient(value, model.trainable_variables)
    return [
        g + kind.l2 * v + kind.proximal * (v - w)
        for g, v, w in zip(found, model.trainable_variables, before, strict=True)
    ]


def _flattened(model: keras.Model) -> dict[int, tuple]:
    """Place of the first dense kernel → (H, W, C) of what was flattened for it."""
    flatten = next(layer for layer in model.layers if isinstance(layer, keras.layers.Flatten))
    place = next(i for i, v in enumerate(model.trainable_variables) if len(v.shape) == 2)
    return {place: tuple(flatten.input.shape[1:])}


def as_torch(arrays: Deltas, flat: dict[int, tuple]) -> Deltas:
    """PyTorch's layout: channels first, dense kernels transposed, also behind a Flatten."""
    found = []
    for place, a in enumerate(arrays):
        if a.ndim == 4:
            a = a.transpose(3, 2, 0, 1)
        elif a.ndim == 2 and place in flat:
            a = a.reshape(*flat[place], -1).transpose(3, 2, 0, 1).reshape(a.shape[1], -1)
        elif a.ndim == 2:
            a = a.T
        found.append(np.ascontiguousarray(a))
    return found
