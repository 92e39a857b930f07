"""Records of the census in an update of one step: which fields come back, and the controls.

    python tests/benchmarks/bench_records.py [--clients 8]

Untrained networks with two hidden layers, N records an update, attacks in their default settings without
public knowledge of the batch. An unmatched record counts as wrong in every field. Controls: span inversion on
a random gradient of the same norms, and the most frequent category of the public records as a guess.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.builtin import BUILTIN
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics, record_metrics
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float
from gradleak.mapping.alignment import layer_index

NETS, SIZES = ("mcmahan_2nn", "fcn3"), (1, 8)


def problem_of(name: str, model_name: str, records: int, clients: int) -> tuple[Problem, np.ndarray]:
    """The updates of the clients, and their records [T, N, 1, D, 1]."""
    pools = split(name, BUILTIN[name].load(None).examples)
    options = ClientOptions(
        dataset=name, model=model_name, batch_size=records, pretrain_epochs=0, alpha=None, draws=clients
    )
    model = client.global_model(options, pools["pretraining"])
    made = client.simulate(options, model, pools["private"], list(range(clients)))
    rate = np.float32(options.learning_rate)
    public = pools["public"]
    problem = Problem(
        model=model,
        gradients=[-np.stack(parts) / rate for parts in zip(*(one.delta for one in made), strict=True)],
        layer=layer_index(model),
        samples=records,
        seeds=list(range(clients)),
        counts=np.stack([np.bincount(one.private.y, minlength=public.classes) for one in made]),
        public=to_float(public.x),
        public_labels=public.y,
        rounding=FLOAT32_ROUNDING / options.learning_rate,
        steps=1,
    )
    return problem, np.stack([to_float(one.private.x) for one in made])


def accuracy(images: np.ndarray, accepted: np.ndarray, truth: np.ndarray, fields: tuple) -> list[dict]:
    """The field accuracies of each trial."""
    rows = []
    for found, kept, x in zip(images, accepted, truth, strict=True):
        one, other = metrics.assign(found[kept], x)
        right = record_metrics.right_fields(found[kept][one], x[other], fields)
        rows.append(record_metrics.field_accuracy(right, fields, len(x)))
    return rows


def measure(name: str, model_name: str, records: int, clients: int) -> dict:
    problem, truth = problem_of(name, model_name, records, clients)
    fields = BUILTIN[name].load(None).description.fields
    typical = record_metrics.typical_record(problem.public, fields)
    guess = np.tile(typical.reshape(1, 1, 1, -1, 1), (*truth.shape[:2], 1, 1, 1))
    everything = np.ones(truth.shape[:2], bool)
    runs = {
        "span": attack.invert(problem, SpanOptions()),
        "dlg": dlg.invert(problem, DlgOptions()),
        "control": attack.invert(problem, SpanOptions(control="random_gradient")),
    }
    row: dict = {"data": name, "net": model_name, "N": records}
    for run, found in runs.items():
        row[run] = accuracy(found.images, found.accepted, truth, fields)
    row["guess"] = accuracy(guess, everything, truth, fields)
    row["certified"] = [int(one.sum()) for one in runs["span"].accepted]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--data", default="adult")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/records.json"))
    arguments = parser.parse_args()
    print(
        "| net | N | certified | categories right: span | DLG | control | most frequent "
        "| all fields right: span | DLG | control | most frequent |\n" + "| --- " * 11 + "|"
    )
    rows = []
    for model_name in NETS:
        for records in SIZES:
            rows.append(row := measure(arguments.data, model_name, records, arguments.clients))
            cells = [
                f"{np.mean([one.get(key, np.nan) for one in row[run]]):.2f}"
                for key in ("category_accuracy", "field_accuracy")
                for run in ("span", "dlg", "control", "guess")
            ]
            certified = f"{sum(row['certified'])} of {records * arguments.clients}"
            print(f"| {model_name} | {records} | {certified} | {' | '.join(cells)} |", flush=True)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
