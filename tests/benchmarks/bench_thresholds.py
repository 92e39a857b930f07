"""How far each constant of span inversion can move before results change, on clients that are in no table.

    python tests/benchmarks/bench_thresholds.py [CONSTANT ...] [--clients digits n32] [--seeds 20]

Tables use clients 0 to 4; these are clients 20 and up. ``n32``: 32 MNIST images under ``cnn7`` after an
epoch. ``digits``: 24 images of 8×8 digits under a narrow net of three dense layers, whose search leaves
members to a joint search of a few seconds. Each constant is multiplied by the factors of its kind; of a
cosine or another number near 1 the distance to 1 is multiplied. For each constant, factor and client:
certified images, those of at least 20 dB, false positives (certified, and below 20 dB with every member),
wrong labels among those of at least 20 dB, and whether all arrays are identical to those without a change.
The output is written after every run, and a run that it holds already is not repeated.

--margins: instead of runs with other values, one run that records every comparison with a constant. Within
the factors that it prints no comparison changes, so that all arrays are identical.

--near: CERTIFIED_BELOW_CONTROL anew. It was chosen on clients of the tables. It decides which near members
are certified, and matters after several local steps. The rule, fixed before any of these clients was looked
at: of the shares 1/12, 1/9, 1/6, 1/5 and 1/4 of the control's least ρ, that of no false positive on any
client, and the most certified images of at least 20 dB, summed over clients; of equal ones the nearest to
1/6. One run a client suffices, since the share filters the near members of a search that is over.
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
from gradleak.attacks.span import attack, membership, thresholds
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets import builtin
from gradleak.datasets.examples import Examples
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics
from gradleak.federated import client
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
SHARES = (1 / 12, 1 / 9, 1 / 6, 1 / 5, 1 / 4)
# Those that only comparisons read.
COMPARED = (
    "RANK_MARGIN",
    "NONLINEAR_SHARE",
    "RECALL_PSNR",
    "LAYER_ZEROS",
    "RAY_STRENGTH",
    "RAY_ROW_NOISE",
    "RAY_CONVERGED",
    "RAY_SAME",
    "CANDIDATE_RESIDUAL",
    "BETTER_IMAGE",
    "NORMALISED_RESIDUAL",
    "COARSE_NORMALISED_RESIDUAL",
    "VOTE_UNCERTAINTY",
    "PROVEN_LABEL_MARGIN",
    "WEIGHT_UNCERTAINTY",
    "COARSE_WEIGHT_DEVIATION",
    "CLEAR_MARGIN",
    "NEAR_BELOW_CONTROL",
    "CERTIFIED_BELOW_CONTROL",
    "JOINT_BELOW_CONTROL",
    "JOINT_NORMALISED_RESIDUAL",
    "MODEL_AGREES",
    "SAME_FEATURE",
    "SIMILAR_FEATURE",
    "EXPLAINED",
    "WEAK_IMAGE",
    "LIT_ERRORS",
    "DOUBTFUL_UNIT",
    "SWITCH_GAIN",
    "GOOD_STEP",
    "VERY_GOOD_STEP",
    "STEP_CONVERGED",
    "ACCURACY_KEPT",
)
OPTIONS = {
    "digits": {"starts": 32, "rounds": 3, "rays": 12, "copies": 2, "joint_rounds": 4},
    "n32": {},
    "steps": {"starts": 64, "rounds": 8, "copies": 2},
    "steps3": {},
}
CLIENTS = {
    "digits": {"dataset": "digits-8x8", "batch_size": 24},
    "n32": {"pretrain_epochs": 1},
    "steps": {
        "dataset": "digits-8x8",
        "model": "fcn3",
        "pretrain_epochs": 1,
        "batch_size": 8,
        "samples": 24,
    },
    "steps3": {"pretrain_epochs": 1, "samples": 96},
}


def narrow_net(pool: Examples) -> keras.Model:
    """64 → 128 → 32 → 10, trained for three epochs."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    layers = [keras.layers.Flatten(), dense(128, activation="relu"), dense(32, activation="relu"), dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(to_float(pool.x), pool.y, epochs=3, batch_size=32, verbose=0)
    return model


class Probe(float):
    """A constant that records the values which it is compared with, as multiples of itself."""

    __array_ufunc__ = None  # so that numpy leaves comparisons and products to the methods below

    def __new__(cls, value: float, seen: list[float]) -> "Probe":
        probe = super().__new__(cls, value)
        probe.seen = seen
        return probe

    def __gt__(self, other):
        return Scaled(float(self), self.seen) > other

    def __lt__(self, other):
        return Scaled(float(self), self.seen) < other

    def __mul__(self, other):
        if isinstance(other, np.ndarray) and other.ndim:
            return Scaled(float(self) * other, self.seen)
        return Probe(float(self) * float(other), self.seen)

    __rmul__ = __mul__


class Scaled:
    """A constant times an array."""

    __array_ufunc__ = None

    def __init__(self, values, seen: list[float]):
        self.values, self.seen = values, seen

    def __gt__(self, other):
        self._record(other)
        return np.less(other, self.values)

    def __lt__(self, other):
        self._record(other)
        return np.greater(other, self.values)

    def _record(self, other) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.ravel(np.asarray(other, float) / self.values)
        ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
        self.seen += [ratios[ratios < 1].max(initial=0), ratios[ratios >= 1].min(initial=np.inf)]


def margins(problem: Problem, options: SpanOptions) -> dict[str, list[float]]:
    """Of every constant that is compared with: the factors between which no comparison changes."""
    seen = {name: [] for name in COMPARED}
    values = {name: getattr(thresholds, name) for name in COMPARED}
    for name, value in values.items():
        setattr(thresholds, name, Probe(value, seen[name]))
    try:
        attack.invert(problem, options)
    finally:
        for name, value in values.items():
            setattr(thresholds, name, value)
    return {
        name: [
            max((r for r in ratios if r < 1), default=0.0),
            min((r for r in ratios if r >= 1), default=np.inf),
        ]
        for name, ratios in seen.items()
        if ratios
    }


def client_of(name: str, seed: int) -> tuple[Problem, np.ndarray, np.ndarray]:
    """The update of one client, and its images and labels."""
    options = ClientOptions(**CLIENTS[name])
    pools = split(options.dataset, builtin.load(options.dataset))
    pretraining = pools["pretraining"]
    model = narrow_net(pretraining) if name == "digits" else client.global_model(options, pretraining)
    (draw,) = client.simulate(options, model, pools["private"], [seed])
    scale = np.float32(options.learning_rate * options.steps)
    gradients = [(-part / scale)[None] for part in draw.delta]
    public = to_float(pools["public"].x), pools["public"].y
    variables = np.arange(len(gradients))
    rounding = FLOAT32_ROUNDING / float(scale)
    problem = Problem(
        model,
        gradients,
        variables,
        options.client_samples,
        [seed],
        None,
        *public,
        rounding,
        None,
        options.steps,
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


def near_members(problem: Problem, options: SpanOptions, x: np.ndarray) -> list[tuple[float, float]]:
    """Of every near member of a client: ρ as a share of the control's least, and its PSNR in dB to the
    nearest member."""
    minima: list[float] = []
    rule, certified = membership.is_certified_near, thresholds.CERTIFIED_BELOW_CONTROL

    def recorded(residual, control_minimum):
        minima.append(control_minimum)
        return rule(residual, control_minimum)

    membership.is_certified_near, thresholds.CERTIFIED_BELOW_CONTROL = recorded, thresholds.NEAR_BELOW_CONTROL
    try:
        inversion = attack.invert(problem, options)
    finally:
        membership.is_certified_near, thresholds.CERTIFIED_BELOW_CONTROL = rule, certified
    accepted = inversion.accepted[0]
    if not minima or not accepted.any():
        return []
    shares = inversion.certificates["residual"][0][accepted] / minima[0]
    psnr = metrics.psnr(metrics.pairwise_mse(inversion.images[0][accepted], x).min(axis=1))
    return [(float(share), float(value)) for share, value in zip(shares, psnr, strict=True)]


def chosen_share(near: list[tuple[float, float]]) -> float:
    """The share by the rule above, with a table of all."""
    print("| share | ≥ 20 dB | false positives |\n| --- | --- | --- |")
    best = (-1, -np.inf, 0.0)
    for share in SHARES:
        psnr = np.array([value for ratio, value in near if ratio < share])
        false_positives, good = int((psnr < 20).sum()), int((psnr >= 20).sum())
        print(f"| {share:.3f} | {good} | {false_positives} |", flush=True)
        if not false_positives:
            best = max(best, (good, -abs(share - 1 / 6), share))
    return best[2]


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
    parser.add_argument("--clients", nargs="*", choices=list(OPTIONS), default=["digits", "n32"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[20])
    parser.add_argument("--factors", nargs="*", type=float, default=list(FACTORS))
    parser.add_argument("--margins", action="store_true", help="ranges without any change, from one run")
    parser.add_argument("--near", action="store_true", help="the share of the control below which to certify")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/thresholds.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    runs = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    order = arguments.constants or [*FIRST, *(name for name in names if name not in FIRST)]
    clients = [(name, seed) for name in arguments.clients for seed in arguments.seeds]
    updates = {key: client_of(*key) for key in clients}
    if arguments.near:
        near = []
        for (kind, seed), (problem, x, _) in updates.items():
            runs[f"{kind}-{seed} near"] = near_members(problem, SpanOptions(**OPTIONS[kind]), x)
            arguments.output.write_text(json.dumps(runs, indent=1) + "\n")
            print(
                kind, seed, [(round(a, 3), round(b, 1)) for a, b in runs[f"{kind}-{seed} near"]], flush=True
            )
            near += runs[f"{kind}-{seed} near"]
        print(f"CERTIFIED_BELOW_CONTROL = {chosen_share(near):.4f}")
        return
    if arguments.margins:
        for (kind, seed), (problem, _, _) in updates.items():
            found = margins(problem, SpanOptions(**OPTIONS[kind]))
            runs[f"{kind}-{seed} margins"] = found
            arguments.output.write_text(json.dumps(runs, indent=1) + "\n")
            for name, (low, high) in found.items():
                print(f"| {name} | {kind} {seed} | {low:.6g} | {high:.6g} |", flush=True)
        return

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
