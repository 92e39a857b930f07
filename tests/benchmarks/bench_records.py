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
from simulated_problems import problem_of

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.builtin import BUILTIN
from gradleak.evaluation import metrics, record_metrics

NETS, SIZES = ("mcmahan_2nn", "fcn3"), (1, 8)


def accuracy(images: np.ndarray, accepted: np.ndarray, truth: np.ndarray, fields: tuple) -> list[dict]:
    """The field accuracies of each trial."""
    rows = []
    for found, kept, x in zip(images, accepted, truth, strict=True):
        one, other = metrics.assign(found[kept], x)
        right = record_metrics.right_fields(found[kept][one], x[other], fields)
        rows.append(record_metrics.field_accuracy(right, fields, len(x)))
    return rows


def measure(name: str, model_name: str, records: int, clients: int) -> dict:
    problem, truth = problem_of(name, model_name, 0, records, range(clients))
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
