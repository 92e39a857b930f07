"""What the adversary can rehearse: the model on public and noise images, and virtual clients of several local steps.

All that the label methods need of the model beyond its last layer, so that they themselves never load it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.federated import client
from gradleak.federated.datasets import Images
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.labels.evidence import Public, ShadowClients, class_means, softmax
from gradleak.labels.simulated.compositions import compositions, draw_images

if TYPE_CHECKING:
    import keras

IMAGES = 4000  # public images at most
PATH_IMAGES = 500  # of them, followed along the local steps
ROUNDS = 800  # virtual clients in each half of the public images
DUMMIES = 100  # noise images


def published(meta: dict[str, Any], samples: int) -> ClientOptions | None:
    """The client's settings as the (untrusted) metadata states them; None where they make no sense or are missing."""
    stated = {
        "samples": samples,
        "batch_size": meta.get("batch_size") or samples,
        "local_steps": meta.get("local_steps", 1),
        "learning_rate": meta.get("learning_rate"),
        "optimizer": meta.get("optimizer", "sgd"),
        **(
            {"momentum": meta["momentum"]}
            if meta.get("optimizer") == "momentum" and "momentum" in meta
            else {}
        ),
    }
    try:
        return ClientOptions(**stated)
    except ValueError:
        return None


def taps(model: keras.Model) -> keras.Model:
    """Images → (input of the last layer, logits)."""
    import keras

    return keras.Model(model.inputs[0], [model.layers[-1].input, model.outputs[0]])


def simulate(
    model: keras.Model,
    public: Images,
    options: ClientOptions | None,
    per_gradient: float,
    finals: list[list[np.ndarray]],
    rounds: int = ROUNDS,
) -> Public:
    """Everything of Public.

    model: at the round's starting weights. per_gradient: a client's own delta (after − before) per unit of gradient.
    finals: each draw's trainable variables after its round, may be none. rounds: virtual clients in each half.
    """
    tapped, rng = taps(model), np.random.default_rng(0)
    public = Images(public.x[:IMAGES], public.y[:IMAGES])
    x = to_float(public.x)
    features, logits = tapped.predict(x, batch_size=256, verbose=0)
    fold = rng.permutation(len(x)) % 2
    noise = rng.uniform(size=(DUMMIES, *x.shape[1:])).astype(np.float32)
    dummy = tapped.predict(noise, verbose=0)[0]
    known = Public(features, public.y, fold, dummy)
    if options is None or options.steps == 1:
        return known
    classes, start = logits.shape[1], [v.numpy() for v in model.trainable_variables]
    ends = []
    for final in finals:
        _assign(model, final)
        end_features, end_logits = tapped.predict(x[:PATH_IMAGES], batch_size=256, verbose=0)
        labels = public.y[:PATH_IMAGES]
        ends.append(
            (
                class_means(softmax(end_logits), labels, classes),
                class_means(end_features.sum(axis=1), labels, classes),
            )
        )
    _assign(model, start)
    gradient = client.gradient_function(model)
    path, path_x = [], x[:PATH_IMAGES]
    even = draw_images(
        rng, np.full((1, classes), -(-options.client_samples // classes)), public.y, np.arange(len(x))
    )[0]
    chosen = rng.permutation(even)[: options.client_samples]
    client.local_training(
        options,
        model,
        gradient,
        Images(public.x[chosen], public.y[chosen]),
        [0],
        lambda: path.append(tapped.predict_on_batch(path_x)[1]),
    )
    counts, weight, bias = [], [], []
    for half in (0, 1):
        own = compositions(rng, rounds, options.client_samples, classes)
        for number, index in enumerate(draw_images(rng, own, public.y, np.flatnonzero(fold == half))):
            index = rng.permutation(index)
            change = client.local_training(
                options, model, gradient, Images(public.x[index], public.y[index]), [half, number]
            )
            kernel = change[-2] if change[-1].ndim == 1 else change[-1]
            weight.append(-kernel / per_gradient)
            bias.append(-change[-1] / per_gradient if change[-1].ndim == 1 else np.full(classes, np.nan))
        counts.append(own)
    ended = {}
    if ends:
        ended = {
            "end_softmax": np.stack([e[0] for e in ends]),
            "end_feature_sum": np.stack([e[1] for e in ends]),
        }
    made = ShadowClients(
        np.concatenate(counts),
        np.stack(weight).astype(np.float32),
        np.stack(bias).astype(np.float32),
        np.repeat([0, 1], rounds),
    )
    return replace(known, path=np.stack(path), path_labels=public.y[:PATH_IMAGES], shadow_clients=made, **ended)


def _assign(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
