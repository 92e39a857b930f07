"""DLG in its default settings on updates of one image: mean PSNR over eight clients, by data set and network.

    python tests/benchmarks/bench_dlg_one_image.py [DATASET:NETWORK:EPOCHS ...]
    python tests/benchmarks/bench_dlg_one_image.py --variation 0 1e-6 1e-5 1e-4

Beside it stand the same search from noise alone (``init: uniform``), the default on noise of the update's
norms (the control), and the nearest public image, which an adversary could choose at best without the update.
With --variation the images that are fitted to the input of the first dense layer are judged alone, by the
first weight of the total variation, on other clients: the weight in ``fitted_starts`` was chosen by that
table.
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
from simulated_problems import problem_of

from gradleak.attacks.matching import dlg, fitted_starts
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.evaluation import metrics
from gradleak.images import psnr

PARTS = (
    *("photo-crops:cnn7:0", "photo-crops:lenet_sigmoid:0", "photo-crops:cnn7:1"),
    *("mnist-5k:cnn7:0", "mnist-5k:cnn7:1", "mnist-5k:lenet_sigmoid:0"),
)
CLIENTS, OTHERS = range(8), range(100, 108)  # of the tables; of the choice of weights
CELLS = {"default": {}, "from noise": {"init": "uniform"}, "control": {"control": "random_gradient"}}


def _problem_of(part: str, draws: range) -> tuple:
    dataset, model_name, epochs = part.split(":")
    return problem_of(dataset, model_name, float(epochs), 1, draws)


def measure(part: str) -> dict:
    problem, truth = _problem_of(part, CLIENTS)
    nearest = metrics.pairwise_mse(truth[:, 0], problem.public).min(axis=1)
    row: dict = {"part": part, "nearest public": psnr(nearest).tolist()}
    for name, spec in CELLS.items():
        began = time.perf_counter()
        found = dlg.invert(problem, DlgOptions(**spec))
        row[name] = psnr(np.square(found.images - truth).mean(axis=(1, 2, 3, 4))).tolist()
        row[f"{name}, seconds"] = (time.perf_counter() - began) / len(truth)
    return row


def of_variation(part: str, weights: list[float]) -> list[str]:
    """Mean PSNR of the fitted images by the first weight of the total variation; the second is a tenth."""
    problem, truth = _problem_of(part, OTHERS)
    first, *others = fitted_starts.STAGES
    cells = []
    for weight in weights:
        fitted_starts.STAGES = ((weight, first[1]), (weight / 10, others[0][1]), others[1])
        skip = np.zeros(len(truth), int)
        found = fitted_starts.fitted_images(problem.model, problem.gradients, problem.public, skip)
        cells.append(f"{psnr(np.square(found - truth[:, 0]).mean(axis=(1, 2, 3))).mean():.1f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help="DATASET:NETWORK:EPOCHS of pretraining")
    parser.add_argument("--variation", nargs="+", type=float, help="first weights of the total variation")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/dlg_one_image.json"))
    arguments = parser.parse_args()
    if arguments.variation:
        print("| data, network, epochs | " + " | ".join(f"{w:g}" for w in arguments.variation) + " |")
        print("| --- " * (1 + len(arguments.variation)) + "|")
        for part in arguments.parts:
            print(f"| {part} | " + " | ".join(of_variation(part, arguments.variation)) + " |", flush=True)
        return
    print(
        "| data, network, epochs | default: mean, worst | from noise | control | nearest public | seconds |"
    )
    print("| --- " * 6 + "|")
    rows = []
    for part in arguments.parts:
        rows.append(row := measure(part))
        mean = {name: f"{np.mean(values):.1f}" for name, values in row.items() if isinstance(values, list)}
        print(
            f"| {part} | {mean['default']}, {min(row['default']):.1f} dB | {mean['from noise']} dB | "
            f"{mean['control']} dB | {mean['nearest public']} dB | {row['default, seconds']:.0f} |",
            flush=True,
        )
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
