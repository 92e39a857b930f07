"""How far span inversion takes updates apart: clients, settings and seeds fixed here, before any of them was looked at.

    python tests/benchmarks/bench_span.py [SETTING ...] [--draws 5] [--output results/benchmarks/span.json]

The attack is given the update, the model and public images, as in the workflow; neither N nor a label. Truth serves
the scoring alone. Beside every setting stand two controls: the same search in a random span of the same singular values
(``random``), and everything accepted from one client judged against the next client's update (``others``). Both must
accept nobody. A member counts as leaked where the update's rounding noise leaves its weight in the layer's gradient known to a third
(``Certificates.uncertainty`` below N / 3 for the true image); of others next to nothing is in the update.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import gradleak  # noqa: F401  before TensorFlow, whose kernels it chooses

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from gradleak import client, datasets, mapping, metrics, vae
from gradleak.attacks import span
from gradleak.attacks.matching import Problem

FLOAT_NOISE = mapping.FLOAT_NOISE
TRAINED = {"pretrain_epochs": 1}
SETTINGS = {
    "n8": TRAINED | {"batch_size": 8},
    "n16": TRAINED | {"batch_size": 16},
    "n32": TRAINED,
    "n64": TRAINED | {"batch_size": 64},
    "n100": TRAINED | {"batch_size": 100},
    "n120": TRAINED | {"batch_size": 120},
    "untrained": {},
    "quarter": {"pretrain_epochs": 0.25},
    "trained5": {"pretrain_epochs": 5},
    "epochs10": TRAINED | {"local_epochs": 10},
    "steps3": TRAINED | {"samples": 96, "batch_size": 32},
    "fashion": TRAINED | {"dataset": "fashion-mnist"},
    "dropout": TRAINED | {"model": "cnn7_dropout"},
}
ATTACK = {"untrained": {"prior": "vae"}}


def update_of(options: client.Options, draws: int) -> tuple[Problem, list[np.ndarray], list[np.ndarray]]:
    """The clients' updates as the mapping gives them; their images and labels."""
    data = datasets.load(options.dataset)
    if len(data.y) > 5000:
        keep = np.random.default_rng(0).permutation(len(data.y))[:5000]
        data = datasets.Images(data.x[keep], data.y[keep])
    pools = datasets.split(options.dataset, data)
    model = client.global_model(options, pools["others"])
    made = client.simulate(options, model, pools["private"], list(range(draws)))
    scale = mapping._stated_scale(made[0].meta)
    gradients = [np.stack([-d.delta[i] / np.float32(scale) for d in made]) for i in range(len(model.trainable_variables))]
    problem = Problem(
        model, gradients, np.arange(len(gradients)), options.client_samples, list(range(draws)), None,
        datasets.to_float(pools["public"].x), pools["public"].y, FLOAT_NOISE / scale,
    )  # fmt: skip
    return problem, [datasets.to_float(d.private.x) for d in made], [d.private.y for d in made]


def decoder_of(problem: Problem, cache: Path):
    options = vae.Options(latent_dim=16, epochs=40)
    if cache.exists():
        with np.load(cache) as arrays:
            return vae.load_networks(options, problem.shape, dict(arrays))[1]
    trained = vae.train(options, problem.public, lambda text: None)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, **vae.weights_of(trained))
    return trained.decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attack", type=json.loads, default={}, help="options of the attack, JSON")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/span.json"))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    for name in arguments.settings or SETTINGS:
        options = client.Options(**SETTINGS[name])
        problem, images, labels = update_of(options, arguments.draws)
        spec = ATTACK.get(name, {}) | arguments.attack
        decoder = decoder_of(problem, arguments.output.parent / f"span-vae-{options.dataset}.npz") if spec.get("prior") else None
        attack = span.Options(**spec)
        for draw in range(arguments.first, arguments.draws):
            one = Problem(**{**vars(problem), "gradients": [g[draw : draw + 1] for g in problem.gradients], "seeds": [draw]})
            began, cpu = time.perf_counter(), time.process_time()
            progress = (lambda text, *a: print("   ", text % a, f"[{time.perf_counter() - began:.0f} s]", flush=True)) if arguments.verbose else None
            found = span.invert(one, attack, decoder, progress=progress)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(name, draw, row(found, images[draw], labels[draw], one), f"{seconds:.0f} s, {cpu:.0f} cpu s", flush=True)


def row(found, x, y, problem) -> dict:
    accepted = found.accepted[0]
    images = found.images[0][accepted]
    got, pairs = metrics.image_metrics(images, x)
    looked = found.certificates["residual"][0] >= 0
    got |= metrics.certificate_metrics(found.images[0][looked], accepted[looked], found.certificates["residual"][0][looked],
                                       int(found.certificates["samples_found"][0]), x)
    right = pairs["psnr"] >= 20
    wrong_labels = (found.labels[0][accepted][pairs["found"]] != y[pairs["truth"]])[right].sum()
    out = {"n": len(x), "N": int(found.certificates["samples_found"][0]), "accepted": int(accepted.sum()),
           "ge20": int((pairs["psnr"] >= 20).sum()), "ge30": int((pairs["psnr"] >= 30).sum()),
           "strangers": got["strangers"], "wrong_labels": int(wrong_labels), "median": round(got.get("psnr_median", 0), 1),
           "rank_corr": round(got.get("residual_rank", 0), 2), "leaked": leaked(problem, x, y)}
    return out


def leaked(problem, x, y) -> int:
    from gradleak.spans import host, subspace
    fine = next(h for h in host.hosts(problem.model, "float64") if h.bends(problem.public[:64]))
    features = fine.features(x.astype(np.float64)).numpy()
    signals = fine.signals(features)[np.arange(len(y)), y]
    noise = problem.rounding * np.sqrt(np.mean(fine.weights**2)) * sum(np.sqrt(fine.weights.shape))
    matrix = fine.gradient([g[0] for g in problem.gradients])
    whole = subspace.of_matrix(matrix, max(noise, np.linalg.norm(matrix, 2) * np.finfo(np.float32).eps))
    left, right = whole.coefficients(features), whole.transposed.coefficients(signals)
    doubt = whole.noise * np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return int((doubt < len(x) / 3).sum())


if __name__ == "__main__":
    main()
