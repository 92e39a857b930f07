"""Every label method under one protocol, vectorised over batches: the tables of docs/results/labels.md.

    python tests/benchmarks/bench_labels.py fedsgd  [--models …] [--seeds 1] [--batches 50] [--output
    results/benchmarks] python tests/benchmarks/bench_labels.py fedavg | unknown | together

fedsgd: {untrained, 100, 1000 steps} × B {8, 32, 128} × {IID, Dirichlet .5, .15}, all methods.
fedavg: ten local steps with SGD, momentum and Adam.
unknown: number of images, and sign and scale, each unknown. together: several rounds, and secure aggregation.

Leaks are made from the private pool, methods see the public pool and never the truth; both are scored at the
end. TensorFlow makes features and the updates of several steps; what is timed as "methods" is numpy alone.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from gradleak.datasets import builtin
from gradleak.datasets.examples import Examples
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics
from gradleak.federated import client, client_data, shadow_clients
from gradleak.federated.last_layer import tapped
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.labels import registry, several_rounds, unknown_scale
from gradleak.labels.evidence import LEVELS, Client, Estimate, Evidence, NotApplicable, counted
from gradleak.labels.simulated import linear, posterior, shadow

TRAINED = {"untrained": 0, "100 steps": 100, "1000 steps": 1000}
SPREADS = {"IID": None, "Dir .5": 0.5, "Dir .15": 0.15}
SIZES = (8, 32, 128)
DATASET, CLASSES = "mnist-5k", 10


def global_model(name: str, seed: int, steps: int, pools: dict):
    epochs = steps * 32 / len(pools["pretraining"].y)
    options = ClientOptions(dataset=DATASET, model=name, model_seed=seed, pretrain_epochs=epochs)
    return client.global_model(options, pools["pretraining"])


def indices(y: np.ndarray, batches: int, size: int, alpha: float | None, seed: int) -> np.ndarray:
    """(batches, size) into the private pool, drawn like the clients of ``client_data.draw_batch``."""
    pool = Examples(np.arange(len(y)), y, CLASSES)
    return np.stack([client_data.draw_batch(pool, size, alpha, [seed, size, b]).x for b in range(batches)])


def counts_of(y: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(row, minlength=CLASSES) for row in y])


def one_step(model, pools: dict, public, size: int, batches: int, seed: int) -> tuple[Evidence, np.ndarray]:
    """All spreads in one stack: their evidence and, apart from it, the true counts."""
    private = pools["private"]
    features, logits = tapped(model).predict(to_float(private.x), batch_size=256, verbose=0)
    index = np.concatenate([indices(private.y, batches, size, alpha, seed) for alpha in SPREADS.values()])
    weight, bias = shadow.gradients(features, logits, private.y, index)
    kernel, offset = model.layers[-1].get_weights()
    return Evidence(kernel, offset, weight, bias, size, public), counts_of(private.y[index])


def score(
    method: str, found: Estimate | None, truth: np.ndarray, reason: str, seconds: float, where: dict
) -> list[dict]:
    """One row a batch."""
    rows = []
    for d, true in enumerate(truth):
        row = {**where, "batch": d, "method": method, "reason": reason, "seconds": seconds / len(truth)}
        if found is not None:
            row |= metrics.label_metrics(found.counts[d], true)
            if found.low is not None:
                inside = (found.low[:, d] <= true) & (true <= found.high[:, d])
                row |= {f"coverage_{level * 100:g}": inside[k].mean() for k, level in enumerate(LEVELS)}
                row |= {
                    f"width_{level * 100:g}": (found.high - found.low)[k, d].mean()
                    for k, level in enumerate(LEVELS)
                }
            if found.expected_irec is not None:
                row["expected_irec"] = found.expected_irec[d]
            row["chosen"] = found.chosen[d] if found.chosen else ""
        rows.append(row)
    return rows


def run_methods(evidence: Evidence, truth: np.ndarray, where: dict, names=registry.METHODS) -> list[dict]:
    rows = []
    for method in names:
        began, found, reason = time.monotonic(), None, ""
        try:
            found = registry.recover(method, evidence)
        except NotApplicable as error:
            reason = str(error)
        rows += score(method, found, truth, reason, time.monotonic() - began, where)
    return rows


def fedsgd(arguments, pools: dict) -> pd.DataFrame:
    rows, methods = [], 0.0
    for name in arguments.models:
        for seed in range(arguments.seeds):
            for training, steps in TRAINED.items():
                model = global_model(name, seed, steps, pools)
                public = shadow_clients.simulate(model, pools["public"], shadow_clients.Rounds(None, 1.0), [])
                for size in SIZES:
                    evidence, truth = one_step(model, pools, public, size, arguments.batches, seed)
                    began = time.monotonic()
                    found = run_methods(
                        evidence, truth, {"model": name, "seed": seed, "training": training, "B": size}
                    )
                    methods += time.monotonic() - began
                    spreads = np.repeat(list(SPREADS), arguments.batches)
                    rows += [row | {"spread": spreads[row["batch"]]} for row in found]
    print(f"methods: {methods:.0f} s")
    return pd.DataFrame(rows)


CLIENTS = {
    "sgd .1": {"optimizer": "sgd", "learning_rate": 0.1},
    "sgd .05": {"optimizer": "sgd", "learning_rate": 0.05},
    "momentum .01": {"optimizer": "momentum", "learning_rate": 0.01},
    "adam .001": {"optimizer": "adam", "learning_rate": 0.001},
}


def fedavg(arguments, pools: dict) -> pd.DataFrame:
    """B = 32, ten local steps, Dirichlet .15."""
    rows = []
    for name in arguments.models:
        for seed in range(arguments.seeds):
            for training, steps in TRAINED.items():
                model = global_model(name, seed, steps, pools)
                for kind, settings in CLIENTS.items():
                    options = ClientOptions(
                        dataset=DATASET, model=name, batch_size=32, local_steps=10, alpha=0.15, **settings
                    )
                    made = client.simulate(options, model, pools["private"], list(range(arguments.batches)))
                    before = [v.numpy() for v in model.trainable_variables]
                    scale = options.learning_rate * options.steps
                    finals = [[b + d for b, d in zip(before, one.delta, strict=True)] for one in made]
                    public = shadow_clients.simulate(model, pools["public"], options, scale, finals)
                    evidence = Evidence(
                        before[-2],
                        before[-1],
                        -np.stack([m.delta[-2] for m in made]) / scale,
                        -np.stack([m.delta[-1] for m in made]) / scale,
                        32,
                        public,
                        Client(options.steps, options.learning_rate, options.optimizer),
                    )
                    truth = counts_of(np.stack([m.private.y for m in made]))
                    rows += run_methods(
                        evidence, truth, {"model": name, "seed": seed, "training": training, "client": kind}
                    )
    return pd.DataFrame(rows)


def unknown(arguments, pools: dict) -> pd.DataFrame:
    """Number of images unknown; sign and scale unknown (the delta is multiplied by a factor that is not
    known).
    """
    rows, rng = [], np.random.default_rng(0)
    for name in arguments.models:
        for seed in range(arguments.seeds):
            for training, steps in TRAINED.items():
                model = global_model(name, seed, steps, pools)
                public = shadow_clients.simulate(model, pools["public"], shadow_clients.Rounds(None, 1.0), [])
                for size in (8, 24, 32, 64, 128):
                    evidence, _ = one_step(model, pools, public, size, arguments.batches, seed)
                    spreads = np.repeat(list(SPREADS), arguments.batches)
                    where = {"model": name, "seed": seed, "training": training, "B": size}
                    for method in ("rank1_weighted", "aux_mean"):
                        found = registry.recover(method, replace(evidence, samples=None))
                        rows += [
                            where
                            | {
                                "spread": spreads[d],
                                "what": f"N by {method}",
                                "abstains": bool(found.abstain[d]),
                                "right": bool(found.samples[d] == size),
                            }
                            for d in range(len(spreads))
                        ]
                    factor = rng.choice([-1, 1], len(spreads)) * 10 ** rng.uniform(-3, 2, len(spreads))
                    scaled = replace(
                        evidence,
                        grad_weight=evidence.grad_weight * factor[:, None, None],
                        grad_bias=evidence.grad_bias * factor[:, None],
                    )
                    scale = unknown_scale.find_scale(scaled)
                    rows += [
                        where
                        | {
                            "spread": spreads[d],
                            "what": "sign",
                            "abstains": bool(scale.abstain[d]),
                            "right": bool(scale.factor[d] * factor[d] > 0),
                            "scale_error": abs(scale.factor[d] / factor[d] - 1),
                        }
                        for d in range(len(spreads))
                    ]
    return pd.DataFrame(rows)


def together(arguments, pools: dict) -> pd.DataFrame:
    """One client in the rounds of a model in training; six clients of 32 images in sums under secure
    aggregation.
    """
    rows = []
    private = pools["private"]
    for name in arguments.models:
        for seed in range(arguments.seeds):
            models = {steps: global_model(name, seed, steps, pools) for steps in (25, 50, 100, 200)}
            index = indices(private.y, arguments.batches, 32, 0.15, seed)
            truth = counts_of(private.y[index])
            raws, variances = [], []
            for number, (steps, model) in enumerate(models.items(), 1):
                public = shadow_clients.simulate(model, pools["public"], shadow_clients.Rounds(None, 1.0), [])
                features, logits = tapped(model).predict(to_float(private.x), batch_size=256, verbose=0)
                evidence = Evidence(
                    *model.layers[-1].get_weights(),
                    *shadow.gradients(features, logits, private.y, index),
                    32,
                    public,
                )
                fitted = posterior.fit(evidence)
                raws.append(fitted.predict(evidence))
                variances.append(np.mean((fitted.held_out - fitted.shadow.counts) ** 2))
                for kind, found in {
                    "alone": counted(raws[-1], 32),
                    "with all before": several_rounds.combine(np.stack(raws), np.array(variances), 32),
                }.items():
                    rows += score(
                        "posterior",
                        found,
                        truth,
                        "",
                        0.0,
                        {"model": name, "seed": seed, "what": f"round {number} {kind}", "at": steps},
                    )
            rows += secure_aggregation(name, seed, models[25], pools, arguments.batches)
    return pd.DataFrame(rows)


def secure_aggregation(
    name: str, seed: int, model, pools: dict, batches: int, clients: int = 6, size: int = 32
) -> list[dict]:
    """Sums of three to six of six clients each round; after R rounds, each client's counts and which are
    determined.
    """
    rows, private = [], pools["private"]
    public = shadow_clients.simulate(model, pools["public"], shadow_clients.Rounds(None, 1.0), [])
    features, logits = tapped(model).predict(to_float(private.x), batch_size=256, verbose=0)
    for sample in range(max(1, batches // 10)):
        rng = np.random.default_rng([seed, sample])
        own = indices(private.y, clients, size, 0.15, 1000 + seed * 100 + sample)
        truth = counts_of(private.y[own])
        participation, totals, spreads = [], [], []
        for number in range(1, 11):
            present = np.sort(rng.choice(clients, rng.integers(3, clients + 1), replace=False))
            participation.append(np.isin(np.arange(clients), present).astype(int))
            index = own[present].reshape(1, -1)
            evidence = Evidence(
                *model.layers[-1].get_weights(),
                *shadow.gradients(features, logits, private.y, index),
                index.size,
                public,
            )
            fitted = linear.fit(evidence, shadow.shadow_clients_of(evidence))
            totals.append(fitted.predict(evidence)[0])
            spreads.append(np.mean((fitted.held_out - shadow.shadow_clients_of(evidence).counts) ** 2))
            if number in (2, 4, 6, 8, 10):
                found = several_rounds.unmix(
                    np.stack(totals), np.stack(participation), np.full(clients, size), np.array(spreads)
                )
                for k in range(clients):
                    rows.append(
                        {
                            "model": name,
                            "seed": seed,
                            "what": f"secure aggregation, {number} rounds",
                            "batch": sample * clients + k,
                            "determined": bool(found.known[k]),
                            **metrics.label_metrics(found.counts[k], truth[k]),
                        }
                    )
    return rows


def table(frame: pd.DataFrame, columns: list[str], value: str = "irec") -> str:
    """Methods down, settings across: means over batches and model seeds; the best of each column in bold."""
    means = frame.pivot_table(
        values=value, index="method", columns=columns, aggfunc="mean", sort=False, dropna=False
    )
    means = means.reindex([m for m in registry.METHODS if m in means.index])
    heads = [" ".join(str(part) for part in (c if isinstance(c, tuple) else (c,))) for c in means.columns]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    best = means.max()
    for method, row in means.iterrows():
        cells = [
            "–" if np.isnan(v) else f"**{v:.3f}**" if v >= best[c] - 5e-4 else f"{v:.3f}"
            for c, v in row.items()
        ]
        name = method if registry.METHODS[method].published else f"*{method}*"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


PARTS = {"fedsgd": fedsgd, "fedavg": fedavg, "unknown": unknown, "together": together}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--models", nargs="+", default=["fcn3_published"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--output", default="results/benchmarks")
    arguments = parser.parse_args()
    images = builtin.load(DATASET)
    began = time.monotonic()
    frame = PARTS[arguments.part](arguments, split(DATASET, images))
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    frame.to_csv(Path(arguments.output) / f"labels_{arguments.part}.csv", index=False)
    if arguments.part in ("fedsgd", "fedavg"):
        columns = ["training", "B", "spread"] if arguments.part == "fedsgd" else ["training", "client"]
        for name in arguments.models:
            print(f"\n{name}, IRec\n\n{table(frame[frame.model == name], columns)}")
        answered = frame[frame.method.isin(["posterior", "auto"])]
        fields = ["irec", "lnacc", "expected_irec", "coverage_50", "coverage_90", "coverage_95", "width_90"]
        print(answered.groupby(["model", "method", *columns], sort=False)[fields].mean().round(3).to_string())
    elif arguments.part == "unknown":
        groups = frame.groupby(["model", "what", "training", "B"], sort=False)
        shown = groups.agg(cases=("right", "size"), abstains=("abstains", "mean"))
        shown["right where it answers"] = groups.apply(lambda g: g.loc[~g.abstains, "right"].mean())
        print(shown.round(3).to_string())
        for what, own in frame[~frame.abstains].groupby("what"):
            print(
                f"{what}: answers in {len(own)} of {(frame.what == what).sum()}, "
                f"right in {own.right.mean():.4f}"
            )
    else:
        fields = [c for c in ("irec", "lnacc", "determined") if c in frame]
        print(frame.groupby(["model", "what"], sort=False)[fields].mean().round(3).to_string())
    print(f"\n{arguments.part}: {time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
