"""How well DLG reconstructs small updates: mean PSNR over 16 clients, with L-BFGS polish.

    python tests/benchmarks/bench_dlg.py [--only cnn7-trained:1] [--output results/benchmarks/dlg.json]

Every client holds N images of its own and shares the gradient of one step. The attack is given the labels
that the last layer's gradients give for one image and the true ones for several (``oracle``); it never sees
an image. PSNR is the mean over a client's images after one-to-one assignment, then over clients, with a 95 %
bootstrap interval over clients. Beside each stand two controls: the same attack on noise of the leak's norms,
and the public class means of the same labels, which take no attack.
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

import numpy as np
import tensorflow as tf

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Problem
from gradleak.datasets import builtin
from gradleak.datasets.pools import split
from gradleak.evaluation import bootstrap, metrics
from gradleak.federated import client, client_data, rounds
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

CLIENTS = 16
NETS = {"cnn7-trained": ("cnn7", 1), "cnn7-untrained": ("cnn7", 0), "lenet-untrained": ("lenet_sigmoid", 0)}
COMMON = {"tv": 0.0, "fill_outside_receptive_field": True}
ONE = {"init": "features", "steps": 1, "learning_rate": 1e-5, "polish_steps": 500, "loss": "l2_global"}
SEVERAL = {
    "cnn7": {
        "init": "class_mean",
        "loss": "cosine",
        "tv": 1e-3,
        "steps": 1000,
        "learning_rate": 0.03,
        "polish_steps": 300,
        "starts": 2,
    },
    "lenet_sigmoid": {
        "init": "uniform",
        "loss": "l2_global",
        "steps": 300,
        "learning_rate": 0.1,
        "polish_steps": 1000,
        "starts": 2,
    },
}


def problem_of(net: str, images: int) -> tuple[Problem, np.ndarray]:
    """The 16 clients' leaks, and their images, [16, N, H, W, C]."""
    name, epochs = NETS[net]
    pools = split("mnist-5k", builtin.load("mnist-5k"))
    options = ClientOptions(
        model=name, pretrain_epochs=epochs, batch_size=images, learning_rate=1.0, alpha=None
    )
    model = client.global_model(options, pools["pretraining"])
    # Exact gradients, and no rounded differences of weights: that loss comes from the protocol.
    gradient = rounds.gradient_function(model)
    draws = [
        client_data.draw_batch(pools["private"], images, options.alpha, [draw, 0]) for draw in range(CLIENTS)
    ]
    leaked = [[g.numpy() for g in gradient(to_float(draw.x), draw.y)] for draw in draws]
    leaked = [np.stack(tensors) for tensors in zip(*leaked)]
    # Of one image the last bias's gradient is negative for its class alone (Zhao et al. 2020).
    counts = (
        (leaked[-1] < 0).astype(int)
        if images == 1
        else np.stack([np.bincount(d.y, minlength=10) for d in draws])
    )
    public = pools["public"]
    layer = np.arange(len(leaked)) // 2
    problem = Problem(
        model, leaked, layer, images, list(range(CLIENTS)), counts, to_float(public.x), public.y
    )
    return problem, np.stack([to_float(draw.x) for draw in draws])


def measure(net: str, images: int, control: str) -> dict:
    problem, truth = problem_of(net, images)
    labels = "recovered" if images == 1 else "oracle"
    spec = COMMON | (ONE if images == 1 else SEVERAL[NETS[net][0]]) | {"control": control, "labels": labels}
    begun = time.perf_counter()
    found = dlg.invert(problem, DlgOptions(**spec))
    seconds = time.perf_counter() - begun
    psnr = [metrics.image_metrics(*pair)[0]["psnr"] for pair in zip(found.images, truth)]
    mean, low, high = bootstrap.mean(np.array(psnr), np.arange(CLIENTS))
    class_mean = DlgOptions(init="class_mean", init_scale=0, labels=labels)
    means = np.mean(
        [
            metrics.image_metrics(*pair)[0]["psnr"]
            for pair in zip(dlg.start_images(problem, class_mean), truth)
        ]
    )
    return {
        "class_means": means,
        "net": net,
        "images": images,
        "control": control,
        "psnr": mean,
        "low": low,
        "high": high,
        "all": psnr,
        "objective": found.objective.tolist(),
        "seconds_per_trial": seconds / CLIENTS,
        "spec": spec,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="parts of the table, as net:images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/dlg.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    parts = arguments.only or [f"{net}:{images}" for net in NETS for images in (1, 2, 4)]
    results = []
    print(
        "| net | N | PSNR (95 % interval) | worst, median, best client | on noise | class means "
        "| seconds per client |\n" + "| --- " * 7 + "|"
    )
    for part in parts:
        net, images = part.split(":")
        attack, noise = (measure(net, int(images), control) for control in ("none", "random_gradient"))
        results += [attack, noise]
        spread = ", ".join(f"{value:.1f}" for value in np.percentile(attack["all"], [0, 50, 100]))
        print(
            f"| {net} | {images} | {attack['psnr']:.1f} ({attack['low']:.1f}–{attack['high']:.1f}) dB "
            f"| {spread} | {noise['psnr']:.1f} dB | {attack['class_means']:.1f} dB "
            f"| {attack['seconds_per_trial']:.1f} |",
            flush=True,
        )
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps({"clients": CLIENTS, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
