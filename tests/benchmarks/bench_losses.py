"""Losses × local optimisers × {untrained, trained} through mapping, labels, span inversion and DLG.

    python tests/benchmarks/bench_losses.py [--unstated] [--model cnn7 --dataset mnist-5k] [--losses …]

The metadata state the loss, the optimiser and the sign, as a recorder would. With --unstated they do not
state the loss and its options. Labels are those of ``auto`` for N = 4, and their accuracy is IRec. Span
inversion is of the same updates: certified images / images of the batches / those certified that are below
20 dB from every member, and certified members with the label of none. DLG is of N = 1 with the label of
``auto``. Where the pre-flight excludes an attack, its reason stands in the place of the figure, as in
``make audit``. Prints one table, and writes results/benchmarks/losses-MODEL.json, which
--parts adds to.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(Path(__file__).parent)]

import keras  # noqa: E402
import numpy as np  # noqa: E402
from loss_clients import LOSSES, OPTIMIZERS, delta_of, metadata_of  # noqa: E402

import gradleak  # noqa: E402, F401  before TensorFlow, whose kernels it chooses
from gradleak.artifacts.leak import Leak  # noqa: E402
from gradleak.attacks.matching import dlg  # noqa: E402
from gradleak.attacks.matching.dlg_options import DlgOptions  # noqa: E402
from gradleak.attacks.problem import Problem  # noqa: E402
from gradleak.attacks.span import attack as span  # noqa: E402
from gradleak.attacks.span.options import SpanOptions  # noqa: E402
from gradleak.datasets import builtin  # noqa: E402
from gradleak.datasets.examples import Examples  # noqa: E402
from gradleak.datasets.pools import split  # noqa: E402
from gradleak.evaluation import metrics  # noqa: E402
from gradleak.federated import client, shadow_clients  # noqa: E402
from gradleak.federated.options import ClientOptions  # noqa: E402
from gradleak.images import psnr, to_float  # noqa: E402
from gradleak.jobs import job  # noqa: E402
from gradleak.labels.evidence import Client  # noqa: E402
from gradleak.labels.packing import pack  # noqa: E402
from gradleak.labels.recovery import Recovered, Source, recover_block  # noqa: E402
from gradleak.labels.simulated import shadow  # noqa: E402
from gradleak.losses import loss_named  # noqa: E402
from gradleak.mapping.errors import MappingError  # noqa: E402
from gradleak.mapping.files import MappedBlock, trainable_places  # noqa: E402
from gradleak.mapping.preflight import prospects, update_of  # noqa: E402
from gradleak.mapping.settle import Mapping, settle  # noqa: E402

SAMPLES, DRAWS = 4, 2
DLG_STEPS = 300  # of a quick audit
CLIENTS = 200  # shadow clients in each half, of 3000 in a study, so that the matrix takes minutes
FALSE_BELOW = 20.0  # dB
EPOCHS = {"untrained": 0, "trained": 5}
PARTS = ("labels", "span", "dlg")
COLUMNS = ("loss", "optimizer", "model", "sign, family, loss found", "labels", "span", "DLG, N = 1")


class Bench:
    """The model in both states, with its pools. stated: whether the metadata state the loss."""

    def __init__(self, dataset: str, model: str, stated: bool):
        pools = split(dataset, builtin.load(dataset))
        self.private, self.public, self.stated = pools["private"], pools["public"], stated
        self.public_x = to_float(self.public.x)
        self.models = {
            state: client.global_model(
                ClientOptions(dataset=dataset, model=model, pretrain_epochs=epochs), pools["pretraining"]
            )
            for state, epochs in EPOCHS.items()
        }

    def images(self, draw: int, samples: int) -> Examples:
        return self.private.take(np.random.default_rng([9, draw]).permutation(len(self.private.y))[:samples])

    def mapped(self, names: tuple[str, str, str], samples: int) -> tuple[Mapping, list[Examples]]:
        """The mapping of DRAWS updates. Raises MappingError."""
        loss, local, model = LOSSES[names[0]], OPTIMIZERS[names[1]], self.models[names[2]]
        meta = metadata_of(loss, local, samples)
        if not self.stated:
            meta = {key: value for key, value in meta.items() if key not in loss.stated}
        privates = [self.images(draw, samples) for draw in range(DRAWS)]
        before = {f"arr_{i}": a for i, a in enumerate(model.get_weights())}
        leaks = []
        for one in privates:
            delta = delta_of(model, loss, local, to_float(one.x), one.y)
            leaks.append(Leak(model.to_json(), before, {f"arr_{i}": a for i, a in enumerate(delta)}, meta))
        return settle(leaks, self.public_x, self.public.y), privates

    def labels(self, found: Mapping, block: MappedBlock) -> Recovered:
        options = shadow_clients.published(found.report["metadata"]["read"], found.samples)
        if block.loss == "binary_crossentropy":
            options = None
        unit = shadow_clients.delta_per_gradient(found.report)
        settings = shadow_clients.Rounds(options, unit, shadow_clients.loss_of(block, found.report))
        finals = shadow_clients.final_weights(found.model, block, unit)
        public = shadow_clients.simulate(found.model, self.public, settings, finals, clients=CLIENTS // 2)
        steps = None if options is None else Client(options.steps, options.learning_rate, options.optimizer)
        is_smoothed = bool(found.report["smoothing"]["value"]) and not loss_named(block.loss).smoothing
        source = Source(block, found.report["metadata"]["read"], pack(public, steps), is_smoothed)
        return recover_block("auto", [source], np.arange(DRAWS), None)

    def problem(self, found: Mapping, counts: np.ndarray | None) -> Problem:
        return Problem(
            model=found.model,
            gradients=found.gradients,
            layer=found.layer,
            samples=found.samples,
            seeds=list(range(DRAWS)),
            counts=counts,
            public=self.public_x,
            public_labels=self.public.y,
            rounding=found.rounding,
            noise=found.noise,
            steps=found.steps,
            scale_confidence=found.scale_confidence,
            coupled=found.coupled,
            has_statistics=found.has_statistics,
            loss=found.loss,
        )


def block_of(found: Mapping) -> MappedBlock:
    fields = ("gradients", "layer", "samples", "public_softmax", "rounding", "noise", "steps", "head")
    fields += ("no_head", "scale_confidence", "coupled", "has_statistics", "loss")
    return MappedBlock(
        model_json=found.model.to_json(),
        weights=found.model.get_weights(),
        trainable=trainable_places(found.model),
        draws=np.arange(DRAWS),
        **{name: getattr(found, name) for name in fields},
    )


def of_labels(found: Recovered, truth: list[np.ndarray]) -> dict:
    if found.reasons:
        return {"text": f"not applicable: {next(iter(found.reasons.values()))}"}
    counts = found.arrays(len(truth))["counts"]
    shares = [np.minimum(n, t).sum() / t.sum() for n, t in zip(counts, truth, strict=True)]
    names = sorted({row["chosen"] for row in found.rows.values()})
    return {"text": f"{np.mean(shares):.0%} ({', '.join(names)})", "irec": float(np.mean(shares))}


def of_span(found, privates: list[Examples]) -> dict:
    if found.reason:
        return {"text": f"not applicable: {found.reason}"}
    certified = false = wrong = recovered = 0
    for trial, one in enumerate(privates):
        images = found.images[trial][found.accepted[trial]]
        labels = found.labels[trial][found.accepted[trial]]
        certified += len(images)
        if not len(images):
            continue
        distances = psnr(metrics.pairwise_mse(images, to_float(one.x)))
        nearest = distances.argmax(axis=1)
        is_false = distances.max(axis=1) < FALSE_BELOW
        false += int(is_false.sum())
        wrong += int(((labels >= 0) & (labels != one.y[nearest]) & ~is_false).sum())
        recovered += int((distances.max(axis=0) >= FALSE_BELOW).sum())
    size = sum(len(one.y) for one in privates)
    kinds = sorted({note["kind"] for notes in found.notes for note in notes})
    text = f"{certified} / {size} / {false}, {wrong} wrong labels{'; ' if kinds else ''}{', '.join(kinds)}"
    return {"text": text, "certified": certified, "false": false, "wrong_labels": wrong, "kinds": kinds}


def measure(bench: Bench, names: tuple[str, str, str], parts: list[str]) -> dict:
    """The figures of ``parts``, with the mapping."""
    row: dict = {"names": names}
    try:
        found, privates = bench.mapped(names, SAMPLES)
    except MappingError as error:
        return row | {"mapping": f"not applicable: {error}"}
    report, block = found.report, block_of(found)
    said = report["sign"]["found"]
    sign = "right" if said == "after_minus_before" else "abstains" if said is None else "WRONG"
    row["mapping"] = f"{sign}, {report['optimizer']['value']}, {report['loss']['value'].partition('[')[0]}"
    row["contradictions"] = report["contradictions"]
    expected = {one["attack"]: one for one in prospects(update_of(block, report))}
    for part in parts:
        began = time.perf_counter()
        if part != "labels" and expected[part]["expect"] == "none":
            row[part] = {"text": f"not applicable: {expected[part]['why']}"}
        elif part == "labels":
            truth = [np.bincount(one.y, minlength=10) for one in privates]
            row[part] = of_labels(bench.labels(found, block), truth)
        elif part == "span":
            options = SpanOptions(starts=32, copies=2, rounds=6)
            row[part] = of_span(span.invert(bench.problem(found, None), options), privates)
        else:
            row[part] = of_dlg(bench, names)
        row[part]["seconds"] = time.perf_counter() - began
    return row


def of_dlg(bench: Bench, names: tuple[str, str, str]) -> dict:
    try:
        found, privates = bench.mapped(names, 1)
    except MappingError as error:
        return {"text": f"not applicable: {error}"}
    block = block_of(found)
    expected = {one["attack"]: one for one in prospects(update_of(block, found.report))}["dlg"]
    if expected["expect"] == "none":
        return {"text": f"not applicable: {expected['why']}"}
    labels = bench.labels(found, block)
    if labels.reasons:
        return {"text": f"not applicable: {next(iter(labels.reasons.values()))}"}
    counts = labels.arrays(DRAWS)["counts"]
    images = dlg.invert(bench.problem(found, counts), DlgOptions(steps=DLG_STEPS))
    if images.reason:
        return {"text": f"not applicable: {images.reason}"}
    truth = np.stack([to_float(one.x) for one in privates])
    each = psnr(np.square(images.images - truth).mean(axis=(1, 2, 3, 4)))
    hit = np.mean([counts[i, one.y[0]] > 0 for i, one in enumerate(privates)])
    return {"text": f"{np.mean(each):.1f} dB, label {hit:.0%}", "psnr": each.tolist(), "label": float(hit)}


def line(row: dict) -> str:
    texts = [row.get(key, {}).get("text", "–") for key in PARTS]
    return f"| {' | '.join(row['names'])} | {row['mapping']} | {' | '.join(texts)} |"


def variants(arguments: argparse.Namespace) -> list[tuple[str, str, str]]:
    """All losses under SGD; the cross-entropy, plain and smoothed, under all optimisers."""
    pairs = [(loss, "SGD") for loss in LOSSES]
    pairs += [
        (loss, name) for name in OPTIMIZERS if name != "SGD" for loss in ("cross-entropy", "smoothing .1")
    ]
    pairs += [("focal, γ = 2", "SGD, 4 steps"), ("squared error of logits", "SGD, weight decay .01")]
    return [
        (loss, name, state)
        for loss, name in pairs
        for state in EPOCHS
        if loss in arguments.losses and name in arguments.optimizers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits-8x8")
    parser.add_argument("--model", default="fcn3")
    parser.add_argument("--unstated", action="store_true", help="the metadata do not state the loss")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--losses", nargs="*", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--optimizers", nargs="*", default=list(OPTIMIZERS), choices=list(OPTIMIZERS))
    arguments = parser.parse_args()
    job.use_threads(1)
    shadow.CLIENTS = CLIENTS
    keras.utils.set_random_seed(0)
    bench = Bench(arguments.dataset, arguments.model, not arguments.unstated)
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    name = f"losses-{arguments.model}{'-unstated' if arguments.unstated else ''}.json"
    path = ROOT / "results" / "benchmarks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {tuple(row["names"]): row for row in json.loads(path.read_text())} if path.exists() else {}
    for names in variants(arguments):
        known[names] = known.get(names, {}) | measure(bench, names, arguments.parts)
        print(line(known[names]), flush=True)
        path.write_text(json.dumps(list(known.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
