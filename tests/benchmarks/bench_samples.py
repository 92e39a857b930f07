"""Whether the stated number N of images is ever wrong, and whether a member is certified twice.

    python tests/benchmarks/bench_samples.py [--leaks 200] [--seed 1] [--plain] [--search]

Leaks as they arrive from outside: one local step, mostly no metadata, `samples` in the settings. Random:
the net (8×8 digits under ``fcn3`` and under a narrow one, a few MNIST images under ``cnn7``), untrained or
trained, N from 1 to 32, the loss, whether the delta or the gradient is shared, whether the learning rate is
stated, whether `samples` is stated wrongly, and whether an image is in the batch twice. A leak is mapped and
judged by the library. ``--plain``: clients whose metadata state everything rightly; N must then be stated.

Candidates are not searched, which takes most of the time: they are the members with errors from rounding up
to a hundredth, mixtures of members, and public images. So the bench tries what is accepted and stated, not
how much is found. ``--search``: with the search, in few rounds.

A line for each leak, then counts: N stated rightly, wrongly, or not; certified images, those of less than 20
dB to every member (false positives), those that show a member again (duplicates), and certified labels that
are wrong or are not stated.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from gradleak.artifacts.leak import Leak
from gradleak.attacks.problem import Inversion, Problem
from gradleak.attacks.span import attack, control, deflation, layer_selection
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets import builtin
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import psnr, to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.errors import MappingError
from gradleak.mapping.settle import Mapping, settle

NETS = {
    "fcn3": {"dataset": "digits-8x8", "model": "fcn3", "width": 100},
    "narrow": {"dataset": "digits-8x8", "model": "fcn3", "width": 40},
    "cnn7": {"dataset": "mnist-5k", "model": "cnn7"},
}
LOSSES = ("plain", "half", "sum", "class weights", "smoothing", "focal", "squared")
RATE = 0.05
CLASSES = 10
PUBLIC = 200
SEARCH = SpanOptions(starts=24, rays=16, ray_steps=80, steps=100, polish_steps=80, copies=2, rounds=4)
GIVEN = SpanOptions(rays=0, polish_steps=0, copies=1, rounds=2)
ERRORS = (1e-8, 1e-5, 1e-3, 1e-2)  # of the members' pixels, standard deviations
ROOT = Path(__file__).parents[2]


def kind_of_leak(rng: np.random.Generator, plain: bool) -> dict:
    """What one leak is like, at random."""
    net = str(rng.choice(list(NETS), p=(0.5, 0.4, 0.1)))
    return {
        "net": net,
        "epochs": float(rng.choice([0, 1] if net == "cnn7" else [0, 5])),
        "samples": int(rng.integers(1, 33)) if net != "cnn7" else int(rng.integers(1, 9)),
        "loss": "plain" if plain else str(rng.choice(LOSSES, p=(0.3, 0.15, 0.15, 0.15, 0.15, 0.05, 0.05))),
        "shared": "delta" if plain else str(rng.choice(["delta", "gradient"], p=(0.7, 0.3))),
        "rate_stated": plain or bool(rng.random() < 0.35),
        "samples_factor": 1.0 if plain else float(rng.choice([1, 0.5, 2], p=(0.8, 0.1, 0.1))),
        "copies": not plain and bool(rng.random() < 0.1),
        "classes": int(rng.choice([2, 4, 10])),
    }


def loss_of(kind: str, weights: np.ndarray, y: np.ndarray, logits: tf.Tensor) -> tf.Tensor:
    """The loss of a batch. weights: of the classes."""
    smooth = 0.1 if kind == "smoothing" else 0.0
    target = tf.one_hot(y, CLASSES) * (1 - smooth) + smooth / CLASSES
    each = tf.nn.softmax_cross_entropy_with_logits(target, logits)
    if kind == "sum":
        return tf.reduce_sum(each)
    if kind == "class weights":
        return tf.reduce_mean(each * tf.gather(weights, y))
    if kind == "focal":
        return tf.reduce_mean((1 - tf.exp(-each)) ** 2 * each)
    if kind == "squared":
        return tf.reduce_mean(tf.reduce_sum((tf.nn.softmax(logits) - target) ** 2, axis=1))
    return tf.reduce_mean(each) * (0.5 if kind == "half" else 1.0)


def leak_of(model: keras.Model, x: np.ndarray, y: np.ndarray, kind: dict, rng: np.random.Generator) -> Leak:
    """The leak of one step on images ``x`` [N, H, W, C]."""
    weights = rng.uniform(0.3, 3, CLASSES).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = loss_of(kind["loss"], weights, y, model(x))
    gradient = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    before = {v.path: v.numpy() for v in model.trainable_variables}
    shared = gradient
    if kind["shared"] == "delta":
        shared = [(b - np.float32(RATE) * g) - b for b, g in zip(before.values(), gradient, strict=True)]
    meta = {"learning_rate": RATE, "local_steps": 1} if kind["rate_stated"] else {}
    return Leak(model.to_json(), before, dict(zip(before, shared, strict=True)), meta)


def problem_of(found: Mapping, x: np.ndarray, y: np.ndarray, seed: int) -> Problem:
    return Problem(
        model=found.model,
        gradients=found.gradients,
        layer=found.layer,
        samples=found.samples,
        seeds=[seed],
        counts=None,
        public=x,
        public_labels=y,
        rounding=found.rounding,
        noise=found.noise,
        steps=found.steps,
        scale_confidence=found.scale_confidence,
    )


def given_candidates(x: np.ndarray, public: np.ndarray, rng: np.random.Generator) -> Iterator[None]:
    """Candidates from the members ``x`` and ``public`` images in place of the search, while it is patched."""
    noisy = [np.clip(x + error * rng.normal(size=x.shape), 0, 1) for error in ERRORS]
    mixtures = (x + np.roll(x, 1, axis=0)) / 2
    images = np.concatenate([*noisy, mixtures, public[:50]]).astype(float)
    images = images[rng.permutation(len(images))]

    def propose(context, gradient, state, _rng):
        return deflation.Proposals(images, True, False, state.used)

    def control_minimum(context, span, generator):
        null = control.span_without_members(context, span, generator)
        return float(null.residual(context.pool.features.astype(float)).min())

    with (
        mock.patch.object(deflation, "_propose", propose),
        mock.patch.object(control, "control_minimum", control_minimum),
        mock.patch.object(layer_selection, "recalled", return_value=np.inf),
    ):
        yield


def outcome(found: Inversion, x: np.ndarray, y: np.ndarray) -> dict:
    """Counts of one leak against its images ``x`` and labels ``y``."""
    if found.status != ["ok"]:
        return {"status": found.status[0]}
    accepted, samples = found.accepted[0], int(found.certificates["samples_estimated"][0])
    images, labels = found.images[0][accepted], found.labels[0][accepted]
    distances, distinct = metrics.pairwise_mse(images, x), np.unique(x, axis=0, return_index=True)[1]
    near = psnr(distances.min(axis=1)) >= metrics.RECOVERED if len(images) else np.zeros(0, bool)
    of = distances[:, distinct].argmin(axis=1) if len(images) else np.zeros(0, int)
    true = y[distinct][of]
    return {
        "status": "ok",
        "stated": samples,
        "N": "right" if samples == len(x) else "wrong" if samples else "not stated",
        "certified": len(images),
        "false_positives": int((~near).sum()),
        "duplicates": int(near.sum() - len(np.unique(of[near]))),
        "wrong_labels": int(((labels != true) & (labels >= 0) & near).sum()),
        "no_label": int((labels < 0).sum()),
        "weights": np.round(found.certificates["weight"][0][accepted], 3).tolist(),
        "notes": [dict(note) for note in found.notes[0]],
    }


def summary(rows: list[dict], key: str) -> None:
    """A table with a line for each value of ``key``."""
    columns = ("right", "not stated", "wrong")
    counts = ("certified", "false_positives", "duplicates", "wrong_labels", "no_label")
    print(f"\n| {key} | leaks | N right | not stated | wrong | " + " | ".join(counts) + " |")
    print("| --- " * (5 + len(counts)) + "|")
    for value in sorted({str(row[key]) for row in rows}):
        own = [row for row in rows if str(row[key]) == value]
        stated = [sum(row.get("N") == column for row in own) for column in columns]
        totals = [sum(row.get(count, 0) for row in own) for count in counts]
        print(f"| {value} | {len(own)} | " + " | ".join(map(str, stated + totals)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--search", action="store_true")
    arguments = parser.parse_args()
    pools, models, rows = {}, {}, []
    for index in range(arguments.leaks):
        rng = np.random.default_rng([arguments.seed, index])
        kind, began = kind_of_leak(rng, arguments.plain), time.monotonic()
        options = ClientOptions(**NETS[kind["net"]], pretrain_epochs=kind["epochs"])
        name = options.dataset
        pools.setdefault(name, split(name, builtin.load(name)))
        key = kind["net"], kind["epochs"]
        if key not in models:
            models[key] = client.global_model(options, pools[name]["pretraining"])
        private, public = pools[name]["private"], pools[name]["public"]
        of_classes = np.flatnonzero(private.y < kind["classes"])
        chosen = rng.choice(of_classes, kind["samples"], replace=False)
        if kind["copies"] and len(chosen) > 2:
            chosen[1] = chosen[0]
        x, y = to_float(private.x[chosen]), private.y[chosen]
        seen = to_float(public.x[:PUBLIC]), public.y[:PUBLIC]
        claims = UserClaims(samples=max(1, round(kind["samples"] * kind["samples_factor"])))
        try:
            found = settle([leak_of(models[key], x, y, kind, rng)], *seen, claims)
            with nullcontext() if arguments.search else contextmanager(given_candidates)(x, seen[0], rng):
                inversion = attack.invert(
                    problem_of(found, *seen, index), SEARCH if arguments.search else GIVEN
                )
            row = outcome(inversion, x, y)
            row["scale_confidence"] = found.scale_confidence
        except MappingError as error:
            row = {"status": "refused", "reason": str(error)[:80]}
        rows.append(kind | row | {"leak": index, "seconds": round(time.monotonic() - began, 1)})
        print(json.dumps(rows[-1]), flush=True)
    for key in ("loss", "shared", "net", "epochs", "scale_confidence", "samples_factor"):
        summary([{"scale_confidence": "none"} | row for row in rows], key)
    path = ROOT / "results" / "benchmarks" / "samples.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
