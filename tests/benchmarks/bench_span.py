"""Span inversion on simulated clients: settings and seeds are fixed here, before any of them was looked at.

    python tests/benchmarks/bench_span.py [SETTING ...] [--draws 5] [--jobs 1] [--above-rounding]

The attack has the update, the model and public images, as in the workflow, but neither N nor a label. Truth
serves scoring alone. Two controls stand beside every setting, and both must accept no image. ``random``: the
same search in a random span of the same singular values, on the first client. ``other_client``: every
certified image of one client, judged against the next client's update. Clients draw from one pool; what both
have does not count.

``directions``: the dimensions that the members' δ span. With more members than that, hardly any feature lies
in M's column space by itself. ``above_rounding``: members whose weight in the layer's gradient the rounding
noise leaves known to 5 % (``Subspace.weigh`` of the true image and label). ``recoverable``: members whose
true image, refined like any candidate, still has a PSNR of 20 dB or more to the true image. --above-rounding:
these counts and ``directions`` only, without an attack.

``false_positives`` and ``low_fidelity`` are certified images below 20 dB from every member, counted apart
(the column false_positives of results/tables counts both). A low-fidelity member is nearer to a member of its
label than to any other image of the whole data set. ``copies`` show a member once more. ``inside_`` stands
for pixels inside the receptive field; no certificate judges the others. ``inside_false_positives``: below 20
dB from every member over these, low-fidelity or not. ``expected_rank``: Spearman correlation of expected and
true PSNR of certified images over these pixels; ``expected``: the median of true less expected PSNR.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from gradleak.attacks import receptive_field
from gradleak.attacks.problem import Problem
from gradleak.attacks.span import (
    attack,
    candidate_images,
    certificates,
    control,
    layer_selection,
    membership,
    subspace,
)
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.search_context import search_context
from gradleak.datasets import builtin
from gradleak.datasets.examples import Examples
from gradleak.datasets.pools import split
from gradleak.evaluation import metrics
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle
from gradleak.priors import vae
from gradleak.priors.options import VaeOptions

TRAINED = {"pretrain_epochs": 1}
SETTINGS = {
    "n8": TRAINED | {"batch_size": 8},
    "n32": TRAINED,
    "n64": TRAINED | {"batch_size": 64},
    "n100": TRAINED | {"batch_size": 100},
    "n64-iid": TRAINED | {"batch_size": 64, "alpha": None},
    # At so large a rate the weights' rounding is as fine as that of a shared gradient.
    "n64-gradient": TRAINED | {"batch_size": 64, "learning_rate": 1e4},
    "n64-iid-gradient": TRAINED | {"batch_size": 64, "alpha": None, "learning_rate": 1e4},
    **{
        f"n{size}-width{width}": TRAINED | {"batch_size": size, "width": width}
        for size in (32, 64, 100)
        for width in (64, 256, 512, 1024)
    },
    # More images than the layer is wide: in one step, and over ten.
    "n200": TRAINED | {"batch_size": 200},
    "steps10": TRAINED | {"samples": 300, "batch_size": 30},
    "untrained": {},
    "untrained-n64": {"batch_size": 64},
    "untrained-n100": {"batch_size": 100},
    "epochs5": {"pretrain_epochs": 5},
    "local10": TRAINED | {"local_epochs": 10},
    "steps3": TRAINED | {"samples": 96},
    "clients4": TRAINED | {"clients": 4, "batch_size": 8},
    "fcn3": TRAINED | {"model": "fcn3"},
    "fcn3-n100": TRAINED | {"model": "fcn3", "batch_size": 100},
    "fcn3-untrained": {"model": "fcn3"},
    "fcn3-fashion": TRAINED | {"model": "fcn3", "dataset": "fashion-mnist"},
    "dropout": TRAINED | {"model": "cnn7_dropout"},
    "pooled": TRAINED | {"model": "cnn_pooled"},
    "fashion": TRAINED | {"dataset": "fashion-mnist"},
    "fashion-from-mnist": TRAINED | {"dataset": "fashion-mnist"},
    **{f"noise{std:g}": TRAINED | {"noise_std": std} for std in (1e-7, 1e-6, 1e-5, 1e-4)},
    "clipped": TRAINED | {"clip_norm": 0.01},
    "float16": TRAINED | {"precision": "float16"},
    "bfloat16": TRAINED | {"precision": "bfloat16"},
    "top10": TRAINED | {"top_k": 0.1},
}
PUBLIC = {"fashion-from-mnist": "mnist-5k"}  # starts from another data set than the client's
IMAGES = 5000  # of a data set that has more


def pools_of(dataset: str) -> dict[str, Examples]:
    data = builtin.load(dataset)
    keep = np.random.default_rng(0).permutation(len(data.y))[:IMAGES] if len(data.y) > IMAGES else slice(None)
    return split(dataset, data.take(keep))


def update_of(name: str, draws: int) -> tuple[Problem, list[np.ndarray], list[np.ndarray]]:
    """The clients' updates of a setting as the mapping gives them; their images and labels."""
    options = ClientOptions(**SETTINGS[name])
    pools = pools_of(options.dataset)
    model = client.global_model(options, pools["pretraining"])
    made = client.simulate(options, model, pools["private"], list(range(draws)))
    leaks = [client.leak_of(model, draw) for draw in made]
    own = pools_of(PUBLIC[name])["public"] if name in PUBLIC else pools["public"]
    public = to_float(own.x), own.y
    found = settle(leaks, *public, UserClaims(sign=options.sign))
    problem = Problem(
        found.model,
        found.gradients,
        found.layer,
        found.samples,
        list(range(draws)),
        None,
        *public,
        found.rounding,
        found.noise,
        found.steps,
        scale_confidence=found.scale_confidence,
    )
    return problem, [to_float(d.private.x) for d in made], [d.private.y for d in made]


def decoder_of(problem: Problem, cache: Path):
    options = VaeOptions(latent_dim=16, epochs=40)
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **vae.weights_of(vae.train(options, problem.public, lambda text: None)))
    with np.load(cache) as arrays:
        return vae.load_networks(options, problem.shape, dict(arrays))[1]


def alone(problem: Problem, draw: int) -> Problem:
    return Problem(
        **vars(problem) | {"gradients": [g[draw : draw + 1] for g in problem.gradients], "seeds": [draw]}
    )


class ClientUpdate:
    """One client's update, to judge images after the attack."""

    def __init__(self, problem: Problem, draw: int):
        layers = layer_selection.select(problem.model, problem.public)
        self.layer = layers[1]
        matrix = self.layer.gradient([g[draw] for g in problem.gradients])
        self.span = subspace.of_matrix(matrix, self.layer.noise(matrix, problem.rounding, problem.noise))
        inside = ~receptive_field.mask(problem.model)
        self.context = search_context(layers, problem.public, inside, None, SpanOptions())
        self.draw = draw

    @cached_property
    def control_minimum(self) -> float:
        return control.control_minimum(self.context, self.span, np.random.default_rng(self.draw))

    def above_rounding(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """bool [N] for true images and labels."""
        features = self.layer.features(x.astype(self.layer.dtype)).numpy()
        deltas = self.layer.deltas(features)[np.arange(len(y)), y]
        weight, doubt = self.span.weigh(features, deltas)
        return doubt < 0.05 * weight

    def directions(self, x: np.ndarray, y: np.ndarray) -> int:
        """The number of dimensions that the δ of true images and labels span."""
        deltas = self.layer.deltas(self.layer.features(x.astype(self.layer.dtype)).numpy())[
            np.arange(len(y)), y
        ]
        lengths = np.linalg.norm(deltas, axis=1, keepdims=True)
        return int(np.linalg.matrix_rank(deltas / np.maximum(lengths, 1e-300), 1e-9))

    def recoverable(self, x: np.ndarray) -> np.ndarray:
        """bool [N] for true images."""
        polished = candidate_images.polished(self.context, self.span, None, x.astype(self.layer.dtype))
        return metrics.psnr(np.square(polished - x).reshape(len(x), -1).mean(axis=1)) >= 20

    def mistakes(self, images: np.ndarray, truth: np.ndarray) -> int:
        """How many of another client's ``images`` are accepted as members here, but for those that this
        client has too."""
        if not len(images):
            return 0
        judged = certificates.of_images(self.layer, self.span, images)
        strange = metrics.psnr(metrics.pairwise_mse(images, truth).min(axis=1)) < 20
        passed = membership.is_exact_member(judged, len(truth)) | membership.is_certified_near(
            judged.residual, self.control_minimum
        )
        return int((passed & strange).sum())


def low_fidelity(
    images: np.ndarray, labels: np.ndarray, errors: np.ndarray, y: np.ndarray, data_set: np.ndarray
) -> np.ndarray:
    """bool [K]: images [K, H, W, C] whose nearest image of ``data_set`` is a member of their label, though
    not within 20 dB.

    errors: squared, of every image with every member [K, N], whose labels are ``y``.
    """
    nearest = errors.min(axis=1)
    none_nearer = nearest <= metrics.pairwise_mse(images, data_set).min(axis=1) * (
        1 + 1e-6
    )  # members are among them
    return (metrics.psnr(nearest) < 20) & none_nearer & (y[errors.argmin(axis=1)] == labels)


def row(
    found, update: ClientUpdate, x: np.ndarray, y: np.ndarray, data_set: np.ndarray, outside: np.ndarray
) -> dict:
    """Everything about one client."""
    accepted, candidates = found.accepted[0], found.certificates["residual"][0] >= 0
    images, labels = found.images[0][accepted], found.labels[0][accepted]
    samples = int(found.certificates["samples_estimated"][0])
    residual, expected = (found.certificates[name][0][candidates] for name in ("residual", "expected_psnr"))
    scores, pairs = metrics.image_metrics(images, x)
    scores |= metrics.certificate_metrics(
        found.images[0][candidates], accepted[candidates], residual, expected, samples, x
    )
    inside, truth = found.images[0][candidates][:, ~outside], x[:, ~outside]
    inside_scores = metrics.certificate_metrics(
        inside, accepted[candidates], residual, expected, samples, truth
    )
    inside_mse = np.square(images[pairs["found"]] - x[pairs["truth"]])[:, ~outside].mean(axis=1)
    errors = metrics.pairwise_mse(images, x)
    vague = int(low_fidelity(images, labels, errors, y, data_set).sum())
    best = np.zeros(len(x))
    best[pairs["truth"]] = pairs["psnr"]
    above, recoverable, good = update.above_rounding(x, y), update.recoverable(x), pairs["psnr"] >= 20
    near = metrics.psnr(errors).max(axis=1, initial=0) >= 20
    near_inside = metrics.psnr(metrics.pairwise_mse(images[:, ~outside], truth)).max(axis=1, initial=0) >= 20
    return {
        "images": len(x),
        "directions": update.directions(x, y),
        "above_rounding": int(above.sum()),
        "recoverable": int(recoverable.sum()),
        "samples": samples,
        "accepted": int(accepted.sum()),
        "at20": int((best >= 20).sum()),
        "at30": int((best >= 30).sum()),
        "inside_at20": int((metrics.psnr(inside_mse) >= 20).sum()),
        "above_rounding_at20": int((best >= 20)[above].sum()),
        "above_rounding_at30": int((best >= 30)[above].sum()),
        "recoverable_at20": int((best >= 20)[recoverable].sum()),
        "false_positives": scores["false_positives"] - vague,
        "low_fidelity": vague,
        "copies": int(near.sum() - (best >= 20).sum()),
        "inside_false_positives": int((~near_inside).sum()),
        "median": float(np.median(best)),
        "rank": scores.get("residual_rank"),
        "inside_rank": inside_scores.get("residual_rank"),
        "expected_rank": inside_scores.get("expected_rank"),
        "expected": float(
            np.median(
                metrics.psnr(inside_mse) - found.certificates["expected_psnr"][0][accepted][pairs["found"]]
            )
        )
        if len(inside_mse)
        else 0.0,
        "wrong_labels": int((labels[pairs["found"]] != y[pairs["truth"]])[good].sum()),
    }


def one_client(
    name: str, draw: int | None, draws: int, spec: dict, folder: Path, threads: int, verbose: bool
) -> dict:
    """The row of client ``draw``, or ``random``, the images that the control accepts, where ``draw`` is None;
    ``reason`` where nothing runs."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    options = SpanOptions(**spec)
    problem, images, labels = update_of(name, draws)
    public = PUBLIC.get(name, ClientOptions(**SETTINGS[name]).dataset)
    decoder = decoder_of(problem, folder / f"span-vae-{public}.npz") if options.prior else None
    progress = (lambda text, *a: print("   ", text % a, flush=True)) if verbose else None
    if draw is None:
        found = attack.invert(
            alone(problem, 0),
            SpanOptions(**spec | {"control": "random_gradient"}),
            decoder,
            progress=progress,
        )
        result = (
            {"random": int(found.accepted.sum())} if found.status[0] == "ok" else {"reason": found.reason}
        )
        print(f"   {name} control: {result}", flush=True)
        return result
    began, cpu = time.perf_counter(), time.process_time()
    found = attack.invert(alone(problem, draw), options, decoder, progress=progress)
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    if found.status[0] != "ok":
        return {"reason": found.reason}
    data_set = to_float(builtin.load(ClientOptions(**SETTINGS[name]).dataset).x)
    truth = images[draw], labels[draw], data_set, receptive_field.mask(problem.model)
    result, other = row(found, ClientUpdate(problem, draw), *truth) | spent, (draw + 1) % draws
    shown = found.images[0][found.accepted[0]]
    result["other_client"] = ClientUpdate(problem, other).mistakes(shown, images[other]) if draws > 1 else 0
    print(f"   {name} client {draw}: {result}", flush=True)
    return result


def gathered(name: str, parts: list[dict]) -> dict:
    reasons = [part["reason"] for part in parts if "reason" in part]
    if reasons:
        return {"setting": name, "reason": reasons[0], "rows": []}
    return {"setting": name, "rows": parts[:-1], **parts[-1]}


def line(result: dict) -> str:
    rows = result["rows"]
    if not rows:
        return f"| {result['setting']} | not applicable: {result['reason']} |"

    def total(key: str) -> int:
        return sum(r[key] for r in rows)

    worst = min(r["at20"] for r in rows)
    ranks = [
        np.mean([r[key] for r in rows if r[key] is not None])
        for key in ("rank", "inside_rank", "expected_rank")
    ]
    exact = sum(r["samples"] == r["images"] for r in rows)
    cells = (
        result["setting"],
        total("directions"),
        f"{total('at20')} of {total('images')} ({worst}), {total('inside_at20')}",
        total("at30"),
        f"{total('above_rounding_at20')}, {total('above_rounding_at30')} of {total('above_rounding')}",
        f"{total('recoverable_at20')} of {total('recoverable')}",
        f"{np.median([r['median'] for r in rows]):.1f} dB",
        ", ".join(
            str(total(key)) for key in ("false_positives", "low_fidelity", "copies", "inside_false_positives")
        ),
        total("wrong_labels"),
        f"{exact} of {len(rows)}",
        f"{ranks[0]:.2f}, {ranks[1]:.2f}",
        f"{ranks[2]:.2f}, {np.median([r['expected'] for r in rows]):+.0f} dB",
        f"{total('other_client')}, {result['random']}",
        f"{np.median([r['seconds'] for r in rows]):.0f}",
        f"{np.median([r['cpu_seconds'] for r in rows]):.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


COLUMNS = (
    "setting",
    "directions",
    "≥ 20 dB (worst client), of pixels inside the receptive field",
    "≥ 30 dB",
    "members above rounding ≥ 20, ≥ 30 dB",
    "recoverable members ≥ 20 dB",
    "median",
    "false positives, low-fidelity members, copies, false positives of pixels inside",
    "wrong labels",
    "N exact",
    "residual rank, of pixels inside",
    "expected PSNR: rank, true − expected",
    "controls: other client, random",
    "seconds",
    "CPU s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", choices=[[], *SETTINGS], default=[])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--jobs", type=int, default=1, help="clients at once")
    parser.add_argument("--attack", type=json.loads, default={}, help="options of the attack, JSON")
    parser.add_argument(
        "--above-rounding", action="store_true", help="count members above rounding and directions only"
    )
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/span.json"))
    arguments = parser.parse_args()
    if arguments.above_rounding:
        for name in arguments.settings or SETTINGS:
            problem, images, labels = update_of(name, arguments.draws)
            updates = [ClientUpdate(problem, d) for d in range(arguments.draws)]
            above = [
                int(update.above_rounding(images[d], labels[d]).sum()) for d, update in enumerate(updates)
            ]
            wide = [update.directions(images[d], labels[d]) for d, update in enumerate(updates)]
            counts = f"{', '.join(map(str, above))} above rounding of {len(labels[0])}"
            print(f"{name}: {counts}, in {', '.join(map(str, wide))} directions", flush=True)
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    # Read by the linear algebra of the processes that are started below: else each of them takes every core.
    os.environ |= {name: str(arguments.threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    results = []
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        tasks = {
            name: [
                pool.submit(
                    one_client,
                    name,
                    draw,
                    arguments.draws,
                    arguments.attack,
                    arguments.output.parent,
                    arguments.threads,
                    arguments.verbose,
                )
                for draw in [*range(arguments.draws), None]
            ]
            for name in arguments.settings or SETTINGS
        }
        for name, parts in tasks.items():
            results.append(gathered(name, [part.result() for part in parts]))
            arguments.output.write_text(
                json.dumps({"attack": arguments.attack, "results": results}, indent=2) + "\n"
            )
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    for result in results:
        print(line(result))


if __name__ == "__main__":
    main()
