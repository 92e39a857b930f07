"""Time and memory of gradient matching: the engine against plain double backprop, each at its best, in the
same run.

    python tests/benchmarks/bench_engine.py [--quick] [--output results/benchmarks/engine.json]

One step is the matching loss (cosine per tensor) of a dummy batch, its gradient in the images and in the
labels, and a plain descent step. Against the engine stand

- graph: the same by double backprop through the Keras model, compiled, one trial at a time
- eager: the same without compiling, as the notebook does it (and which also asks its persistent tape for
  the gradient of the classification loss in images and labels)

Every side runs under every setting of SETTINGS: one process with a thread for each of two cores or two
processes side by side with one each, with TensorFlow's oneDNN kernels and without. Of each side the best
setting counts. Sides and settings take turns, all about equally long, and of each the fastest turn counts, so
that what else the machine does weighs on all alike. Memory is the peak of a process before the baselines have
run.
"""

import argparse
import contextlib
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
from gradleak.federated import models
from gradleak.optim import widths

SETTINGS = {
    f"{processes} × {threads}, oneDNN {'on' if onednn else 'off'}": {
        "processes": processes,
        "threads": threads,
        "onednn": onednn,
    }
    for processes, threads in ((1, 2), (2, 1))
    for onednn in (1, 0)
}
RATE = 1e-3
TURN_MS = 400


def dense5m() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(2048, activation="relu"),
            layers.Dense(1648, activation="relu"),
            layers.Dense(10),
        ]
    )


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


# --- in a process of its own
# ---------------------------------------------------------------------------------------


def work(threads: int, images: int, blocks: list[list], model: str = "cnn7", baselines: bool = True) -> None:
    """Get all sides of one batch size ready, say what that took, then run what standard input asks for.

    ``blocks``: [trials, whether each has a leak of its own], the larger the later.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # the profiler's advice
    keras.utils.set_random_seed(0)
    net = dense5m() if model == "dense5m" else models.build(model, (28, 28, 1), 10, 0)
    runs, sides = {}, {}
    for trials, own in blocks:
        matcher, x, labels, leaked = problem(net, images, trials, own)
        packed = {key: tf.constant(array) for key, array in gradients.pack_targets(leaked).items()}
        name = f"T={trials}" + (", own leaks" if own else "")
        before = peak_memory()
        width, operations = pass_of(matcher, x, labels, packed)
        facts = {"memory_before_mb": before, "trials": trials, "at_once": width, "gflop": operations}
        runs[name] = partial(in_passes, repeated(partial(engine_step, matcher)), width, x, labels, packed)
        begun = time.perf_counter()
        runs[name](0)
        facts["tracing_s"] = time.perf_counter() - begun
        runs[name](2)
        sides[name] = facts | {"memory_mb": peak_memory()}
    if baselines:
        first = [tf.constant(target[0]) for target in leaked]
        runs["graph"] = partial(repeated(partial(graph_step, net)), x[0], labels[0], first)
        runs["eager"] = partial(eager_steps, net, x[0], labels[0], first)
        square = tf.random.normal([2048, 2048])
        runs["matmul"] = lambda count: [tf.matmul(square, square) for _ in range(count)][-1].numpy()
        sides |= {"graph": {}, "eager": {}, "matmul": {"gflop": 2 * 2048**3 / 1e9}}
    print(json.dumps(sides), flush=True)
    for line in sys.stdin:
        name, count = json.loads(line)
        begun = time.perf_counter()
        runs[name](count)
        print((time.perf_counter() - begun) / count * 1e3, flush=True)


def pass_of(matcher, x, labels, packed) -> tuple[int, float]:
    """Trials of a pass as an attack job chooses them, and GFLOP of a trial."""

    def graph(width: int):
        given = [tf.TensorSpec([width, *t.shape[1:]], t.dtype) for t in (x, labels)]
        targets = {k: tf.TensorSpec([min(len(t), width), *t.shape[1:]], t.dtype) for k, t in packed.items()}
        return (
            tf.function(partial(engine_step, matcher), autograph=False)
            .get_concrete_function(*given, targets)
            .graph
        )

    width = widths.best_width(len(x), lambda width: widths.bytes_of(graph(width)))
    return width, gflop(graph(width)) / width


def in_passes(run, width: int, x, labels, packed, count: int) -> None:
    """``count`` steps of a block, pass after pass, the last one filled up as the loop does it."""
    for first in range(0, len(x), width):
        rows = slice(min(first, len(x) - width), min(first, len(x) - width) + width)
        run(x[rows], labels[rows], {k: t if len(t) == 1 else t[rows] for k, t in packed.items()}, count)


def gflop(graph) -> float:
    """Floating-point operations of a graph in the matrix products and convolutions that its outputs need.

    Counted here, since TensorFlow's profiler also counts what is pruned (derivatives by the model's own
    weights), takes transposed batches of products for larger ones and padded positions of a convolution for
    real ones.
    """
    left, seen = [output.op for output in graph.outputs], set()
    while left:
        op = left.pop()
        if op.name not in seen:
            seen.add(op.name)
            left += [tensor.op for tensor in op.inputs]
    return 2 * sum(_multiplications(op) for op in graph.get_operations() if op.name in seen) / 1e9


def _multiplications(op) -> int:
    if op.type in ("MatMul", "BatchMatMulV2"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return op.outputs[0].shape.num_elements() * op.inputs[0].shape[-2 if transposed else -1]
    if op.type in ("Conv2D", "Conv2DBackpropInput"):
        kernel = op.inputs[1].shape
        made = op.outputs[0] if op.type == "Conv2D" else op.inputs[2]
        return made.shape.num_elements() * kernel[:3].num_elements()
    return 0


def peak_memory() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Workers:
    """The processes of one setting."""

    def __init__(self, setting: dict, **job):
        environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": str(setting["onednn"])}
        command = [sys.executable, __file__, "--work", json.dumps({"threads": setting["threads"]} | job)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self.processes = [subprocess.Popen(command, **pipes) for _ in range(setting["processes"])]

    def ready(self) -> dict:
        facts, *_ = [json.loads(self._answer(process)) for process in self.processes]
        return facts

    def turn(self, side: str, count: int) -> float:
        """Milliseconds per step of ``count`` steps in each process, over the number of processes."""
        for process in self.processes:
            process.stdin.write(json.dumps([side, count]) + "\n")
            process.stdin.flush()
        times = [float(self._answer(process)) for process in self.processes]
        return 1 / sum(1 / milliseconds for milliseconds in times)

    def _answer(self, process) -> str:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of the benchmark ended with {process.wait()}")
        return line

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()


# --- the comparison
# -------------------------------------------------------------------------------------------------


def compare(images: int, blocks: list[list], rounds: int) -> list[dict]:
    """All sides under all settings, for one batch size."""
    print(f"… N={images}", file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        workers, sides = {}, {}
        for (
            name,
            setting,
        ) in SETTINGS.items():  # one after the other, so that memory and tracing are undisturbed
            workers[name] = Workers(setting, images=images, blocks=blocks)
            stack.callback(workers[name].close)
            found = workers[name].ready()
            sides = sides or found
        counts, turns = {}, {}
        for _ in range(rounds):
            for side in sides:
                for name, group in workers.items():
                    key = side, name
                    if key not in counts:
                        group.turn(side, 2)
                        per_process = group.turn(side, 2) * SETTINGS[name]["processes"]
                        counts[key] = max(1, round(TURN_MS / per_process))
                    turns.setdefault(key, []).append(group.turn(side, counts[key]))
    best = {}
    for side, facts in sides.items():
        times = {name: min(turns[side, name]) / facts.get("trials", 1) for name in workers}
        chosen = min(times, key=times.get)
        best[side] = facts | {
            "side": side,
            "images": images,
            "ms": times[chosen],
            "setting": chosen,
            "by_setting": times,
        }
    for side in best.values():
        for other in ("graph", "eager"):
            side[f"times_{other}"] = best[other]["ms"] / side["ms"]
        if "trials" in side:
            side["share_of_matmul"] = (side["gflop"] / side["ms"]) / (
                best["matmul"]["gflop"] / best["matmul"]["ms"]
            )
    return list(best.values())


def memory(own_targets: bool) -> dict:
    """Of a dense net of five million parameters, 64 trials of 8 images."""
    print("… memory", file=sys.stderr, flush=True)
    group = Workers(
        SETTINGS["1 × 2, oneDNN on"], images=8, blocks=[[64, own_targets]], model="dense5m", baselines=False
    )
    (facts,) = group.ready().values()
    group.close()
    return {"model": "dense5m", "images": 8, "own_leaks": own_targets} | facts


def table(results: list[dict]) -> str:
    head = [
        "N",
        "side",
        "ms",
        "best setting",
        "× graph",
        "× eager",
        "of matmul's speed",
        "peak memory",
        "tracing",
    ]
    lines = [head, ["---"] * len(head)]
    for r in results:
        if r["side"] == "matmul":
            continue
        cells = [
            r["images"],
            r["side"],
            f"{r['ms']:.2f}",
            r["setting"],
            f"{r['times_graph']:.1f}",
            f"{r['times_eager']:.0f}",
        ]
        if "trials" in r:
            cells += [f"{r['share_of_matmul']:.0%}", f"{r['memory_mb']:.0f} MB", f"{r['tracing_s']:.1f} s"]
        lines.append(cells + ["–"] * (len(head) - len(cells)))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one batch size, few repetitions")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/engine.json"))
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(**json.loads(arguments.work))
        return
    shared = [[1, False], [8, False], [32, False]]
    if arguments.quick:
        results, memories = compare(1, shared[::2], 2), [memory(False)]
    else:
        results = [
            *compare(1, [*shared, [32, True]], 6),
            *compare(8, [*shared, [32, True]], 6),
            *compare(32, shared, 6),
        ]
        memories = [memory(False), memory(True)]
    report = {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        "quick": arguments.quick,
        "unit": "milliseconds per step and trial; fastest of several turns at the side's best setting",
        "results": results,
        "memory": memories,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"Milliseconds per step and trial, each side at its best setting:\n\n{table(results)}\n")
    for m in memories:
        leaks = "a leak each" if m["own_leaks"] else "one leak"
        print(
            f"{m['model']}, {m['trials']} trials of {m['images']} images, {leaks}: "
            f"peak {m['memory_mb']:.0f} MB, of which {m['memory_before_mb']:.0f} MB before the engine ran"
        )


if __name__ == "__main__":
    main()
