"""Time and memory of gradient matching: the engine against plain double backprop, in the same run.

    python tests/benchmarks/bench_engine.py [--quick] [--threads 2] [--output results/benchmarks/engine.json]

One step is the matching loss (cosine per tensor) of a dummy batch, its gradient in the images and in the
labels, and a plain descent step. Against it stand

- graph: the same by double backprop through the Keras model, compiled, one trial at a time
- eager: the same without compiling, as the notebook does it (and which also asks its persistent tape for
  the gradient of the classification loss in images and labels)

Each configuration runs in a process of its own. Engine and graph take turns there, and of each the fastest
turn counts, so that what else the machine does weighs on both alike. Memory is the process's peak
before the baselines have run.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gradleak import gradients

BATCHES, BLOCKS = (1, 8, 32), (1, 8, 32)
RATE = 1e-3
TURN_MS = 400


def cnn7() -> keras.Model:
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def dense5m() -> keras.Model:
    return keras.Sequential([
        keras.Input((28, 28, 1)), layers.Flatten(),
        layers.Dense(2048, activation="relu"), layers.Dense(1648, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def problem(model: keras.Model, images: int, trials: int, own_targets: bool):
    """Dummies x [T, N, 28, 28, 1] and labels [T, N, 10], and the gradients of other such batches."""
    rng = np.random.default_rng(0)
    matcher = gradients.build_matcher(model)

    def batch(trials: int):
        labels = rng.dirichlet(np.ones(10), (trials, images))
        return tf.constant(rng.random((trials, images, 28, 28, 1)), tf.float32), tf.constant(
            labels, tf.float32
        )

    # One at a time: all together would take the memory that the engine saves.
    leaked = [matcher.gradients(*batch(1)) for _ in range(trials if own_targets else 1)]
    leaked = [np.concatenate(tensors) for tensors in zip(*leaked)]
    return matcher, *batch(trials), leaked


def repeated(step):
    """``count`` descent steps in one compiled function. ``step``: x, labels, targets -> both gradients."""

    @tf.function(autograph=False)
    def run(x, labels, targets, count):
        def body(i, x, labels):
            by_x, by_labels = step(x, labels, targets)
            return i + 1, x - RATE * by_x, labels - RATE * by_labels

        return tf.while_loop(lambda i, *_: i < count, body, (0, x, labels), parallel_iterations=1)[1]

    return lambda x, labels, targets, count: run(x, labels, targets, tf.constant(count)).numpy()


def engine_step(matcher, x, labels, packed):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x, labels])
        targets = gradients.unpack_targets(packed, len(matcher.variables))
        loss = gradients.objective(matcher.products(x, labels, targets), tf.ones([1, len(targets)]), "cosine")
    return tape.gradient(loss, [x, labels])


def matching_loss(found, targets):
    """The notebook's."""
    loss = 0.0
    for g, target in zip(found, targets):
        g, target = tf.reshape(g, [-1]), tf.reshape(target, [-1])
        loss += 1 - tf.reduce_sum(tf.math.l2_normalize(g) * tf.math.l2_normalize(target))
    return loss


def entropy(model, x, labels):
    """Not tf.nn.softmax_cross_entropy_with_logits: its second derivative in the labels is missing."""
    logits = model(x, training=False)
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - tf.reduce_sum(labels * logits, axis=1))


def graph_step(model, x, labels, targets):
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch([x, labels])
        with tf.GradientTape() as inner:
            loss = entropy(model, x, labels)
        matched = matching_loss(inner.gradient(loss, model.trainable_variables), targets)
    return outer.gradient(matched, [x, labels])


def eager_steps(model, x, labels, targets, count):
    for _ in range(count):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, labels])
            loss = entropy(model, x, labels)
            found = tape.gradient(loss, model.trainable_variables)
            tape.gradient(loss, [x, labels])
            matched = matching_loss(found, targets)
        by_x, by_labels = tape.gradient(matched, [x, labels])
        x, labels = x - RATE * by_x, labels - RATE * by_labels
    return x.numpy()


def measure(model: str, images: int, trials: int, own_targets: bool, rounds: int, baselines: bool) -> dict:
    """One configuration, in this process."""
    net = {"cnn7": cnn7, "dense5m": dense5m}[model]()
    keras.utils.set_random_seed(0)
    matcher, x, labels, leaked = problem(net, images, trials, own_targets)
    packed = {name: tf.constant(array) for name, array in gradients.pack_targets(leaked).items()}
    before = peak_memory()
    engine = partial(repeated(partial(engine_step, matcher)), x, labels, packed)
    begun = time.perf_counter()
    engine(0)
    result = {"model": model, "images": images, "trials": trials, "own_targets": own_targets}
    result["tracing_s"] = time.perf_counter() - begun
    engine(2)
    result |= {"memory_mb": peak_memory(), "memory_before_mb": before}

    runs = {"engine": engine}
    if baselines:
        first = [tf.constant(target[0]) for target in leaked]
        alone = (net, x[0], labels[0], first)
        runs["graph"] = partial(repeated(partial(graph_step, net)), *alone[1:])
        runs["eager"] = partial(eager_steps, *alone)
    for name, fastest in fastest_turns(runs, rounds).items():
        result[f"{name}_ms"] = fastest / (trials if name == "engine" else 1)
    return result


def fastest_turns(runs: dict, rounds: int) -> dict[str, float]:
    """Milliseconds per step of each run's fastest turn. They take turns, all about equally long."""
    counts = {}
    for name, run in runs.items():
        run(2)
        counts[name] = max(1, round(TURN_MS / milliseconds(run, 2)))
    turns = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            turns[name].append(milliseconds(run, counts[name]))
    return {name: min(times) for name, times in turns.items()}


def milliseconds(run, count: int) -> float:
    """Per step, of ``count`` steps."""
    begun = time.perf_counter()
    run(count)
    return (time.perf_counter() - begun) / count * 1e3


def peak_memory() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(threads: int, **configuration) -> dict:
    command = [sys.executable, __file__, "--threads", str(threads), "--one", json.dumps(configuration)]
    print("…", configuration, file=sys.stderr, flush=True)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def configurations(quick: bool) -> list[dict]:
    rounds = 3 if quick else 10
    blocks = [(1, 1), (1, 32), (8, 8)] if quick else [(n, t) for n in BATCHES for t in BLOCKS]
    grid = [
        {"model": "cnn7", "images": n, "trials": t, "own_targets": False, "baselines": True}
        for n, t in blocks
    ]
    own = [] if quick else [(1, 32), (8, 32)]
    grid += [
        {"model": "cnn7", "images": n, "trials": t, "own_targets": True, "baselines": True} for n, t in own
    ]
    for own_targets in (False,) if quick else (False, True):
        grid.append(
            {"model": "dense5m", "images": 8, "trials": 64, "own_targets": own_targets, "baselines": False}
        )
    return [configuration | {"rounds": rounds} for configuration in grid]


def table(results: list[dict]) -> str:
    head = "| model | N | T | targets | engine | graph | eager | × graph | × eager | peak memory | tracing |"
    lines = [head, "|" + " --- |" * 11]
    for r in results:
        cells = [
            r["model"],
            r["images"],
            r["trials"],
            "own" if r["own_targets"] else "shared",
            f"{r['engine_ms']:.2f} ms",
        ]
        if "graph_ms" in r:
            cells += [f"{r['graph_ms']:.1f} ms", f"{r['eager_ms']:.1f} ms"]
            cells += [f"{r['graph_ms'] / r['engine_ms']:.1f}", f"{r['eager_ms'] / r['engine_ms']:.0f}"]
        else:
            cells += ["–"] * 4
        cells += [f"{r['memory_mb']:.0f} MB", f"{r['tracing_s']:.1f} s"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three small configurations, few repetitions")
    parser.add_argument("--threads", type=int, default=2, help="intra-op threads")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/engine.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        print(json.dumps(measure(**json.loads(arguments.one))))
        return
    results = [in_own_process(arguments.threads, **c) for c in configurations(arguments.quick)]
    report = {
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        "quick": arguments.quick,
        "unit": "milliseconds per step and trial; fastest of several turns",
        "results": results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"Milliseconds per step and trial, {arguments.threads} threads:\n\n{table(results)}")


if __name__ == "__main__":
    main()
