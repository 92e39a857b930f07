"""How well DLG reconstructs updates of clients whose BatchNorm layers were in training mode.

    python tests/benchmarks/bench_batchnorm.py [--images 1 2 4 8] [--net conv dense] [--weights 0.1]
    python tests/benchmarks/bench_batchnorm.py --span [--images 4 8]

Every client holds N digits (8 × 8) of its own and shares one step of SGD with the moving statistics, as Keras
does. The statistics of its batch are those that the mapping recovers. Five ways to evaluate BatchNorm in the
attack: by the moving statistics (as if at inference); by the recovered ones, fixed (Huang et al. 2021); the
same with a regulariser on the dummies' statistics (Yin et al. 2021, Hatamizadeh et al. 2023); by the dummies'
own statistics, as on the client; the same with the regulariser. Labels are optimised along. PSNR is the mean
over a client's images after one-to-one assignment, then over clients. With --span, span inversion by the
moving and by the recovered statistics instead: certified images, those within 30 dB of a member, and false
positives, in all clients together.
"""

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gradleak.artifacts.leak import Leak
from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets import builtin
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics
from gradleak.federated import client_data
from gradleak.images import psnr, to_float
from gradleak.mapping.settle import settle

CLIENTS, RATE, SPAN_ROUNDS = 4, 0.05, 3
SPEC = {
    "labels": "joint",
    "loss": "l2_global",
    "tv": 0.0,
    "steps": 300,
    "learning_rate": 0.05,
    "polish_steps": 200,
    "starts": 2,
}
WAYS = {
    "moving statistics": None,
    "recovered, fixed": {"batch_norm": "fixed", "statistics_weight": 0},
    "recovered, fixed, regulariser": {"batch_norm": "fixed"},
    "of the dummies": {"statistics_weight": 0},
    "of the dummies, regulariser": {},
}


def network(kind: str) -> keras.Model:
    """conv: BatchNorm behind two convolutions. dense: also behind the hidden dense layer."""
    keras.utils.set_random_seed(1)
    stack = []
    for filters in (16, 16):
        stack += [layers.Conv2D(filters, 3), layers.BatchNormalization(), layers.ReLU()]
    stack += [layers.Flatten(), layers.Dense(64)]
    stack += [layers.BatchNormalization()] if kind == "dense" else []
    return keras.Sequential([keras.Input((8, 8, 1)), *stack, layers.ReLU(), layers.Dense(10)])


def leak_of(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Leak:
    """One step of SGD in training mode; the model keeps its weights."""
    before = {v.path: v.numpy() for v in model.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    for v, g in zip(model.trainable_variables, tape.gradient(value, model.trainable_variables), strict=True):
        v.assign_sub(RATE * g)
    delta = {v.path: v.numpy() - before[v.path] for v in model.weights}
    for v in model.weights:
        v.assign(before[v.path])
    meta = {"samples": len(x), "learning_rate": RATE, "local_steps": 1, "sign": "after_minus_before"}
    return Leak(model.to_json(), before, delta, meta)


def measure(model: keras.Model, pools: dict, images: int, weight: float) -> dict[str, np.ndarray]:
    """Per way (PSNR, label accuracy, objective, seconds) of each client, [CLIENTS, 4]."""
    public = to_float(pools["public"].x), pools["public"].y
    found: dict[str, list] = {way: [] for way in WAYS}
    for client in range(CLIENTS):
        draw = client_data.draw_batch(pools["private"], images, None, [client, 0])
        leak = leak_of(model, to_float(draw.x), draw.y)
        mapped = settle([leak], *public)
        assert mapped.has_statistics, mapped.report["batch_norm"]
        shared = (mapped.gradients, mapped.layer, images, [client], None, *public)
        for way, options in WAYS.items():
            problem = Problem(mapped.model, *shared, coupled=mapped.coupled, has_statistics=True)
            if options is None:
                problem = Problem(model, *shared)
            spec = SPEC | {"statistics_weight": weight} | (options or {})
            begun = time.perf_counter()
            inverted = dlg.invert(problem, DlgOptions(**spec))
            seconds = time.perf_counter() - begun
            scores, _ = metrics.image_metrics(inverted.images[0], to_float(draw.x))
            found[way].append(
                (scores["psnr"], accuracy(inverted.labels[0], draw.y), inverted.objective[0], seconds)
            )
    return {way: np.array(rows) for way, rows in found.items()}


def measure_span(model: keras.Model, pools: dict, images: int) -> dict[str, np.ndarray]:
    """Per way the numbers of certified images, of those at 30 dB or more, and of false positives."""
    public = to_float(pools["public"].x), pools["public"].y
    found = {way: np.zeros(3, int) for way in ("moving statistics", "recovered")}
    for client in range(CLIENTS):
        draw = client_data.draw_batch(pools["private"], images, None, [client, 0])
        mapped = settle([leak_of(model, to_float(draw.x), draw.y)], *public)
        shared = (mapped.gradients, mapped.layer, images, [client], None, *public)
        noise = {"rounding": mapped.rounding, "noise": mapped.noise, "steps": 1}
        known = {"coupled": mapped.coupled, "has_statistics": mapped.has_statistics}
        problems = Problem(model, *shared, **noise), Problem(mapped.model, *shared, **noise, **known)
        for way, problem in zip(found, problems, strict=True):
            inverted = attack.invert(problem, SpanOptions(rounds=SPAN_ROUNDS))
            certified = inverted.images[0][inverted.accepted[0]]
            apart = np.square(certified[:, None] - to_float(draw.x)[None]).mean(axis=(2, 3, 4))
            best = psnr(apart).max(axis=1) if len(certified) else np.zeros(0)
            found[way] += [len(best), (best >= 30).sum(), (best < 20).sum()]
    return found


def accuracy(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the labels that are right, as multisets."""
    counts = (np.bincount(part, minlength=10) for part in (found, true))
    return float(np.minimum(*counts).sum() / len(true))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--span", action="store_true", help="span inversion in the place of DLG")
    parser.add_argument("--net", nargs="*", default=["conv"], help="conv, dense")
    parser.add_argument("--weights", type=float, nargs="*", default=[0.1], help="of the regulariser")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/batchnorm.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    pools = split("digits-8x8", builtin.load("digits-8x8"))
    for kind in arguments.net:
        model = network(kind)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss)
        model.fit(to_float(pools["pretraining"].x), pools["pretraining"].y, batch_size=32, verbose=0)
        if arguments.span:
            span_table(kind, model, pools, arguments)
        else:
            dlg_table(kind, model, pools, arguments)


def dlg_table(kind: str, model: keras.Model, pools: dict, arguments: argparse.Namespace) -> None:
    """Rows on the screen; the figures of each client in the output file."""
    print("| net | N | weight | BatchNorm | PSNR | label accuracy | s |\n" + "| --- " * 7 + "|")
    results = []
    for images, weight in itertools.product(arguments.images, arguments.weights):
        for way, rows in measure(model, pools, images, weight).items():
            decibels, right, _, seconds = rows.mean(axis=0)
            scores = f"{decibels:.1f} dB | {right:.0%} | {seconds:.1f}"
            print(f"| {kind} | {images} | {weight} | {way} | {scores} |", flush=True)
            results.append({"images": images, "weight": weight, "way": way, "rows": rows.tolist()})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    path = arguments.output.with_stem(f"{arguments.output.stem}-{kind}")
    path.write_text(json.dumps({"spec": SPEC, "results": results}, indent=2) + "\n")


def span_table(kind: str, model: keras.Model, pools: dict, arguments: argparse.Namespace) -> None:
    """Rows on the screen."""
    print("| net | N | BatchNorm | certified | at 30 dB | false positives |\n" + "| --- " * 6 + "|")
    for images in arguments.images:
        for way, (certified, sharp, false) in measure_span(model, pools, images).items():
            scores = f"{certified} | {sharp} of {CLIENTS * images} | {false}"
            print(f"| {kind} | {images} | {way} | {scores} |", flush=True)


if __name__ == "__main__":
    main()
