"""How often the sign and the optimiser's family are found, and are right, on simulated clients of many kinds.

Every draw is judged alone, under both signs, from its update and 400 public images: no metadata, no label.
Writes results/benchmarks/mapping.json with every draw; see docs/results/mapping.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np  # noqa: E402
from scipy.stats import beta  # noqa: E402

from gradleak.federated import client, datasets  # noqa: E402
from gradleak.federated.options import ClientOptions  # noqa: E402
from gradleak.images import to_float  # noqa: E402
from gradleak.jobs import job  # noqa: E402
from gradleak.mapping.classifier import look_at  # noqa: E402
from gradleak.mapping.optimizer import find_optimizer  # noqa: E402
from gradleak.mapping.sign import sign_evidence  # noqa: E402
from gradleak.mapping.suspicions import find_noise  # noqa: E402

RATES = {"sgd": (0.001, 0.01, 0.05, 0.1, 0.5), "momentum": (0.001, 0.01, 0.05), "adam": (1e-4, 1e-3, 1e-2)}
MODELS = {
    "digits-8x8": ("fcn3", "lenet_sigmoid", "fcn3_published"),
    "mnist-5k": ("fcn3", "cnn7", "cnn7_dropout", "lenet_sigmoid", "fcn3_published"),
}


def settings(rng: np.random.Generator) -> ClientOptions:
    """A random client: data set, model, training before the round, batch, steps, optimiser, class shares."""
    dataset = str(rng.choice(list(MODELS)))
    batch = int(rng.choice([1, 2, 4, 8, 16, 32, 64]))
    optimizer = str(rng.choice(list(RATES)))
    return ClientOptions(
        dataset=dataset,
        model=str(rng.choice(MODELS[dataset])),
        model_seed=int(rng.integers(3)),
        pretrain_epochs=float(rng.choice([0, 1, 5, 15] if dataset == "digits-8x8" else [0, 0.3, 1])),
        batch_size=batch,
        samples=batch * int(rng.choice([1, 1, 2, 4])),
        local_steps=int(rng.choice([1, 1, 2, 5, 10, 30])),
        learning_rate=float(rng.choice(RATES[optimizer])),
        optimizer=optimizer,
        alpha=[None, 0.05, 0.15, 0.5, 1.0, 10.0][rng.integers(6)],
    )


def judge(options: ClientOptions, model, draw, public) -> dict:
    """What the mapping finds for one draw, as it was shared and negated."""
    before = [v.numpy() for v in model.trainable_variables]
    noise = find_noise([a[None] for a in draw.delta], before, public.head, 1.0).value
    family = find_optimizer(draw.delta, before, public.head, noise=bool(noise)).value
    said = [
        sign_evidence([sign * a[None] for a in draw.delta], public, family == "adam").value
        for sign in (1, -1)
    ]
    assert said in (
        [None, None],
        ["after_minus_before", "before_minus_after"],
        ["before_minus_after", "after_minus_before"],
    )
    return {
        **options.model_dump(
            include={
                "dataset",
                "model",
                "pretrain_epochs",
                "batch_size",
                "samples",
                "local_steps",
                "learning_rate",
                "optimizer",
                "alpha",
            }
        ),
        "classes_present": len(set(draw.private.y.tolist())),
        "noise_suspected": noise,
        "sign": "abstains" if said[0] is None else "right" if said[0] == "after_minus_before" else "wrong",
        "family": "abstains"
        if family == "unknown"
        else "right"
        if (family == "adam") == (options.optimizer == "adam")
        else "wrong",
    }


def summary(draws: list[dict], what: str) -> dict:
    """Counts, the share that is right among those that are said, and its 95 % Clopper–Pearson lower bound."""
    right, wrong = (sum(one[what] == word for one in draws) for word in ("right", "wrong"))
    said = right + wrong
    low = float(beta.ppf(0.05, right, wrong + 1)) if right else 0.0
    return {
        "draws": len(draws),
        "right": right,
        "wrong": wrong,
        "abstains": len(draws) - said,
        "right_where_said": right / said if said else None,
        "lower_bound_95": low,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=100, help="kinds of clients")
    parser.add_argument("--draws", type=int, default=2, help="draws of each")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    job.use_threads(1)
    rng = np.random.default_rng(arguments.seed)
    pools = {name: datasets.split(name, datasets.load(name)) for name in MODELS}
    models, found = {}, []
    for _ in range(arguments.settings):
        options = settings(rng)
        key = options.dataset, options.model, options.model_seed, options.pretrain_epochs
        if key not in models:
            models[key] = client.global_model(options, pools[options.dataset]["pretraining"])
        own, model = pools[options.dataset], models[key]
        public = look_at(model, to_float(own["public"].x[:400]), own["public"].y[:400])
        ids = [int(one) for one in rng.integers(1 << 30, size=arguments.draws)]
        found += [
            judge(options, model, draw, public)
            for draw in client.simulate(options, model, own["private"], ids)
        ]
    result = {
        "seed": arguments.seed,
        "noise_suspected_of_none": sum(one["noise_suspected"] > 0 for one in found),
        **{what: summary(found, what) for what in ("sign", "family")},
    }
    for model in sorted({one["model"] for one in found}):
        result[f"sign, {model}"] = summary([one for one in found if one["model"] == model], "sign")
    for name, row in result.items():
        print(name, row)
    path = ROOT / "results" / "benchmarks" / "mapping.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result, "each": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
