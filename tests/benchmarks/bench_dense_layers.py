"""Examples from the gradient of a dense layer that receives pixels, beside the rivals' own figures.

    python tests/benchmarks/bench_dense_layers.py SETTING ... [--seeds 5] [--cifar FOLDER]

A net of one hidden layer (1000 ReLU units, 10 classes), one client. A setting is
data:size:weights:epochs:update, as cifar10:64:keras:1:rounded. weights: published (N(0, .5²), second layer
Glorot-uniform, no biases), keras (Glorot-uniform), torch (uniform within 1/√inputs). epochs: of training
before the round. update: float64 or float32 (a gradient), rounded (the difference of float32 weights), noise
(rounded, with noise of so many percent of the norm: noise5), steps (rounded, after so many local epochs in
batches of 32: epochs10).

Shares are of all images. exact: at 40 dB or better; l2: within a mean squared error of 0.01, which is 20 dB.
false: certified, and below 20 dB from every image of the batch.
"""

import argparse
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

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.builtin import BUILTIN
from gradleak.evaluation import metrics
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import psnr, to_float

UNITS, CLASSES, BATCH = 1000, 10, 32
PRETRAINING, PUBLIC = 10_000, 1_000
RATES = {"published": 0.01, "keras": 0.05, "torch": 0.05}


def weights_of(kind: str, inputs: int, rng: np.random.Generator) -> list[np.ndarray]:
    glorot = np.sqrt(6 / (UNITS + CLASSES))
    last = [rng.uniform(-glorot, glorot, (UNITS, CLASSES)), np.zeros(CLASSES)]
    if kind == "published":
        return [rng.normal(0, 0.5, (inputs, UNITS)), np.zeros(UNITS), *last]
    if kind == "keras":
        bound = np.sqrt(6 / (inputs + UNITS))
        return [rng.uniform(-bound, bound, (inputs, UNITS)), np.zeros(UNITS), *last]
    bound, end = inputs**-0.5, UNITS**-0.5
    return [
        rng.uniform(-bound, bound, (inputs, UNITS)),
        rng.uniform(-bound, bound, UNITS),
        rng.uniform(-end, end, (UNITS, CLASSES)),
        rng.uniform(-end, end, CLASSES),
    ]


def gradients_of(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Of the mean cross-entropy, in the precision of ``weights``. x: [B, I]."""
    kernel, bias, head, offset = weights
    inputs = x @ kernel + bias
    hidden = np.maximum(inputs, 0)
    logits = hidden @ head + offset
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    share /= len(y)
    delta = (share @ head.T) * (inputs > 0)
    return [x.T @ delta, delta.sum(axis=0), hidden.T @ share, share.sum(axis=0)]


def trained(weights: list, x: np.ndarray, y: np.ndarray, epochs: int, rate: float, rng) -> list[np.ndarray]:
    """After ``epochs`` in batches of 32, in the precision of ``weights``."""
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            batch = order[first : first + BATCH]
            found = gradients_of(weights, x[batch], y[batch])
            weights = [
                w - w.dtype.type(rate) * g.astype(w.dtype) for w, g in zip(weights, found, strict=True)
            ]
    return weights


def update_of(kind: str, weights: list, x: np.ndarray, y: np.ndarray, rate: float, rng) -> tuple:
    """The gradient of each variable as the attacker has it, its rounding, its noise [4], and the local
    steps."""
    exact = [w.astype(np.float64) for w in weights]
    if kind == "float64":
        return gradients_of(exact, x, y), 0.0, None, 1
    if kind == "float32":
        return [g.astype(np.float32) for g in gradients_of(exact, x, y)], 0.0, None, 1
    epochs = int(kind.removeprefix("epochs")) if kind.startswith("epochs") else 0
    if epochs:
        after = trained(weights, x.astype(np.float32), y, epochs, rate, rng)
        steps = epochs * -(-len(x) // BATCH)
    else:
        found = gradients_of(exact, x, y)
        after = [w - np.float32(rate) * g.astype(np.float32) for w, g in zip(weights, found, strict=True)]
        steps = 1
    delta = [(w.astype(np.float64) - a) / rate for w, a in zip(weights, after, strict=True)]
    rounding = FLOAT32_ROUNDING / rate
    if not kind.startswith("noise"):
        return delta, rounding, None, steps
    percent = float(kind.removeprefix("noise"))
    size = percent / 100 * np.sqrt(sum(np.square(d).sum() for d in delta) / sum(d.size for d in delta))
    return [d + size * rng.normal(size=d.shape) for d in delta], rounding, np.full(4, size), steps


def problem_of(setting: str, seed: int, folder: str | None) -> tuple[Problem, np.ndarray, np.ndarray]:
    """The attacker's problem, and the private images [B, H, W, C] and labels."""
    name, size, kind, epochs, update = setting.split(":")
    examples = BUILTIN[name].load(folder if name == "cifar10" else None).examples
    order, count = np.random.default_rng(seed).permutation(len(examples.x)), int(size)
    private, others = order[:count], order[count:]
    public, pretraining = others[:PUBLIC], others[PUBLIC : PUBLIC + PRETRAINING]
    x = to_float(examples.x[private]).astype(np.float64)
    rng = np.random.default_rng([seed, 1])
    weights = [w.astype(np.float32) for w in weights_of(kind, x[0].size, rng)]
    earlier = to_float(examples.x[pretraining]).reshape(len(pretraining), -1)
    weights = trained(weights, earlier, examples.y[pretraining], int(epochs), RATES[kind], rng)
    flat, labels = x.reshape(count, -1), examples.y[private]
    gradients, rounding, noise, steps = update_of(update, weights, flat, labels, RATES[kind], rng)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(UNITS, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )
    model.set_weights(weights)
    problem = Problem(
        model=model,
        gradients=[g[None] for g in gradients],
        layer=np.array([0, 0, 1, 1]),
        samples=count,
        seeds=[seed],
        counts=None,
        public=to_float(examples.x[public]),
        public_labels=examples.y[public],
        rounding=rounding,
        noise=noise,
        steps=steps,
    )
    return problem, x, labels


def measure(setting: str, seed: int, folder: str | None) -> dict:
    problem, x, labels = problem_of(setting, seed, folder)
    began, wall = time.process_time(), time.monotonic()
    found = attack.invert(problem, SpanOptions())
    seconds = {"cpu_seconds": time.process_time() - began, "seconds": time.monotonic() - wall}
    kept = found.accepted[0]
    images, guessed = found.images[0][kept].astype(np.float64), found.labels[0][kept]
    one, other = metrics.assign(images, x)
    quality = psnr(np.square(images[one] - x[other]).mean(axis=(1, 2, 3)))
    nearest = [psnr(np.square(image - x).mean(axis=(1, 2, 3)).min()) for image in images]
    return {
        "setting": setting,
        "seed": seed,
        "certified": int(kept.sum()),
        "exact": int((quality >= 40).sum()),
        "l2": int((quality >= 20).sum()),
        "median": float(np.median(quality)) if len(quality) else float("nan"),
        "worst": float(quality.min()) if len(quality) else float("nan"),
        "false": int((np.array(nearest) < 20).sum()),
        "wrong_labels": int((guessed[one] != labels[other])[quality >= 20].sum()),
        "reason": found.reason,
        **seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--cifar", default=None, help="folder of CIFAR-10's binary batches; default: Keras' download"
    )
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/dense_layers.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    rows = []
    print(
        "| data, images, weights, epochs, update | clients | exact | within .01 | worst, median "
        "| certified, false | wrong labels | processor seconds |\n" + "| --- " * 8 + "|"
    )
    for setting in arguments.settings:
        own = [measure(setting, seed, arguments.cifar) for seed in arguments.seeds]
        rows += own
        total = int(setting.split(":")[1]) * len(own)

        def add(key: str, own: list = own) -> int:
            return sum(row[key] for row in own)

        worst, middle = np.nanmin([r["worst"] for r in own]), np.nanmedian([r["median"] for r in own])
        cells = [
            setting.replace(":", ", "),
            len(own),
            f"{add('exact') / total:.3f}",
            f"{add('l2') / total:.3f}",
            f"{worst:.0f}, {middle:.0f} dB",
            f"{add('certified')}, {add('false')}",
            add("wrong_labels"),
            f"{np.mean([row['cpu_seconds'] for row in own]):.1f}",
        ]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
