"""How far each constant of span inversion can move before results change, on clients that are in no table.

    python tests/benchmarks/bench_thresholds.py [CONSTANT ...] [--clients digits n32] [--seeds 20]

Tables use clients 0 to 4; these are clients 20 and up. ``n32``: 32 MNIST images under ``cnn7`` after an
epoch. ``digits``: 24 images of 8×8 digits under a narrow net of three dense layers, whose search leaves
members to a joint search of a few seconds. Each constant is multiplied by the factors of its kind; of a
cosine or another number near 1 the distance to 1 is multiplied. For each constant, factor and client:
certified images, those of at least 20 dB, false positives (certified, and below 20 dB with every member),
wrong labels among those of at least 20 dB, and whether all arrays are identical to those without a change.
The output is written after every run, and a run that it holds already is not repeated.

The rule by which a constant that was chosen on table clients is chosen anew, fixed before a look at any of
these clients: among the present value and its multiples by 1/2, 2/3, 3/2 and 2, that of no false positive on
any client and the most certified members of at least 20 dB, summed over clients; of equal ones the nearest to
the present value.
"""

import argparse
import hashlib
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

from gradleak.attacks.problem import Inversion, Problem
from gradleak.attacks.span import attack, thresholds
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.federated import client, datasets
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float

FACTORS = (0.5, 2.0)
NEAR_ONE = ("SAME_FEATURE", "SIMILAR_FEATURE", "RAY_SAME", "RAY_CONVERGED", "SWITCH_GAIN", "STEP_CONVERGED")
# Numbers of images, and bounds on memory: no result depends on them but through time.
NOT_VARIED = ("TINY", "TINY_LENGTH", "CHUNK", "JACOBIAN_BYTES")
# The order of a run that is stopped early: acceptance first.
FIRST = (
    "CERTIFIED_BELOW_CONTROL",
    "NEAR_BELOW_CONTROL",
    "JOINT_BELOW_CONTROL",
    "JOINT_NORMALISED_RESIDUAL",
    "NORMALISED_RESIDUAL",
    "COARSE_NORMALISED_RESIDUAL",
    "CLEAR_MARGIN",
    "WEIGHT_DEVIATION",
    "WEIGHT_UNCERTAINTY",
    "COARSE_WEIGHT_DEVIATION",
    "VOTE_UNCERTAINTY",
    "CANDIDATE_RESIDUAL",
    "POLISH_NOISE",
    "WEAK_IMAGE",
    "EXPLAINED",
    "ERROR_OF_RESIDUAL",
)
OPTIONS = {
    "digits": {"starts": 32, "rounds": 3, "rays": 12, "copies": 2, "joint_rounds": 4},
    "n32": {},
}


def narrow_net(pool: datasets.Images) -> keras.Model:
    """64 → 128 → 32 → 10, trained for three epochs."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    layers = [keras.layers.Flatten(), dense(128, activation="relu"), dense(32, activation="relu"), dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(to_float(pool.x), pool.y, epochs=3, batch_size=32, verbose=0)
    return model


def client_of(name: str, seed: int) -> tuple[Problem, np.ndarray, np.ndarray]:
    """The update of one client, and its images and labels."""
    if name == "digits":
        options = ClientOptions(dataset="digits-8x8", batch_size=24)
    else:
        options = ClientOptions(pretrain_epochs=1)
    pools = datasets.split(options.dataset, datasets.load(options.dataset))
    pretraining = pools["pretraining"]
    model = narrow_net(pretraining) if name == "digits" else client.global_model(options, pretraining)
    (draw,) = client.simulate(options, model, pools["private"], [seed])
    scale = np.float32(options.learning_rate)
    gradients = [(-part / scale)[None] for part in draw.delta]
    public = to_float(pools["public"].x), pools["public"].y
    variables = np.arange(len(gradients))
    rounding = FLOAT32_ROUNDING / options.learning_rate
    problem = Problem(
        model, gradients, variables, options.batch_size, [seed], None, *public, rounding, None, 1
    )
    return problem, to_float(draw.private.x), draw.private.y


def scored(inversion: Inversion, x: np.ndarray, y: np.ndarray) -> dict:
    """The counts of one client."""
    accepted = inversion.accepted[0]
    images, labels = inversion.images[0][accepted], inversion.labels[0][accepted]
    rows, columns = metrics.assign(images, x) if len(images) else (np.zeros(0, int), np.zeros(0, int))
    psnr = metrics.psnr(np.square(images[rows] - x[columns]).reshape(len(rows), -1).mean(axis=1))
    good = psnr >= 20
    nearest = metrics.psnr(metrics.pairwise_mse(images, x).min(axis=1)) if len(images) else np.zeros(0)
    digest = hashlib.sha256()
    for array in (inversion.images, inversion.labels, inversion.accepted, *inversion.certificates.values()):
        digest.update(np.ascontiguousarray(array))
    return {
        "certified": int(accepted.sum()),
        "at20": int(good.sum()),
        "false_positives": int((nearest < 20).sum()),
        "wrong_labels": int((labels[rows] != y[columns])[good].sum()),
        "samples": int(inversion.certificates["samples_estimated"][0]),
        "digest": digest.hexdigest()[:16],
    }


def changed(name: str, factor: float) -> float | int:
    """The value of a constant times ``factor``."""
    value = getattr(thresholds, name)
    if name in NEAR_ONE:
        return 1 - factor * (1 - value)
    return max(1, round(factor * value)) if isinstance(value, int) else factor * value


def main() -> None:
    names = [name for name in vars(thresholds) if name.isupper() and name not in NOT_VARIED]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("constants", nargs="*", choices=[[], *names], default=[])
    parser.add_argument("--clients", nargs="*", choices=list(OPTIONS), default=list(OPTIONS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[20])
    parser.add_argument("--factors", nargs="*", type=float, default=list(FACTORS))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/thresholds.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    runs = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    order = arguments.constants or [*FIRST, *(name for name in names if name not in FIRST)]
    clients = [(name, seed) for name in arguments.clients for seed in arguments.seeds]
    updates = {key: client_of(*key) for key in clients}

    def run(kind: str, seed: int, constant: str, factor: float) -> dict:
        key = f"{kind}-{seed} {constant} {factor:g}"
        if key not in runs:
            problem, x, y = updates[kind, seed]
            before, began = getattr(thresholds, constant, None), time.perf_counter()
            if factor != 1:
                setattr(thresholds, constant, changed(constant, factor))
            try:
                runs[key] = scored(attack.invert(problem, SpanOptions(**OPTIONS[kind])), x, y)
            finally:
                if factor != 1:
                    setattr(thresholds, constant, before)
            runs[key]["seconds"] = round(time.perf_counter() - began, 1)
            arguments.output.write_text(json.dumps(runs, indent=1) + "\n")
            print(key, runs[key], flush=True)
        return runs[key]

    base = {key: run(*key, "none", 1.0) for key in clients}
    print("| constant | factor | client | ≥ 20 dB (unchanged) | false positives | wrong labels | identical |")
    print("| --- " * 7 + "|")
    for constant in order:
        for factor in arguments.factors:
            for kind, seed in clients:
                one, unchanged = run(kind, seed, constant, factor), base[kind, seed]
                same = one["digest"] == unchanged["digest"]
                print(
                    f"| {constant} | {factor:g} | {kind} {seed} | {one['at20']} ({unchanged['at20']}) | "
                    f"{one['false_positives']} | {one['wrong_labels']} | {'yes' if same else 'no'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
