"""How often the mapping's findings are right on simulated clients of many kinds.

Every draw is judged alone, under a random sign, from its update, 400 public images and metadata that state
the true number of images and local steps; no learning rate, no label. Prints a row for each kind of client,
and writes results/benchmarks/mapping.json with every draw; see docs/results/mapping.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from mapping_clients import KINDS, MODELS, Update, global_model, settings, update  # noqa: E402
from scipy.stats import beta  # noqa: E402

from gradleak.artifacts.leak import Leak  # noqa: E402
from gradleak.datasets import builtin  # noqa: E402
from gradleak.datasets.pools import split  # noqa: E402
from gradleak.images import to_float  # noqa: E402
from gradleak.jobs import job  # noqa: E402
from gradleak.mapping.claims import UserClaims  # noqa: E402
from gradleak.mapping.settle import settle  # noqa: E402

WHAT = ("sign", "family", "images")
SIGNS = {1: "after_minus_before", -1: "before_minus_after"}


def leak_of(one: Update, model_json: str, direction: int) -> Leak:
    """The update as it is shared, after − before (1) or the opposite (−1)."""
    before = {f"arr_{i}": a for i, a in enumerate(one.before)}
    delta = {f"arr_{i}": direction * a for i, a in enumerate(one.delta)}
    stated = {"samples": one.options.client_samples, "local_steps": one.options.steps}
    return Leak(model_json, before, delta, stated)


def judge(one: Update, model_json: str, public: tuple[np.ndarray, np.ndarray], direction: int) -> dict:
    """right, wrong or abstains for each of WHAT, with what was said.

    images: wrong if the stated number, which is true, is refuted, or if a bound on images × steps is above
    it.
    """
    options = one.options
    found = settle([leak_of(one, model_json, direction)], *public, UserClaims(sign=SIGNS[direction])).report
    sign, family, samples = found["sign"]["found"], found["optimizer"]["value"], found["samples"]
    bound = samples["images_times_steps_at_least"]
    too_high = bound is not None and bound > options.client_samples * options.steps
    refuted = any(c["against"] == "update" for c in samples["contradicts"])
    return {
        "kind": one.kind,
        **options.model_dump(
            include={"dataset", "model", "pretrain_epochs", "batch_size", "samples", "local_steps"}
        ),
        **options.model_dump(include={"learning_rate", "optimizer", "alpha"}),
        "classes_present": len(set(one.private.y.tolist())),
        "sign": _judged(sign, None, SIGNS[direction]),
        "sign_confidence": found["sign"]["confidence"] if sign else 0.0,
        "family": _judged(family, "unknown", one.family),
        "images": "wrong" if refuted or too_high else "abstains" if bound is None else "right",
        "said": {
            key: found[key]["value"]
            for key in ("noise", "quantisation", "entry_clipping", "sparsity", "weight_decay", "smoothing")
        },
    }


def _judged(said: str | None, silent: str | None, true: str) -> str:
    return "abstains" if said == silent else "right" if said == true else "wrong"


def summary(draws: list[dict], what: str) -> dict:
    """Counts, and the 95 % Clopper–Pearson upper bound of the share that is wrong among those said."""
    right, wrong = (sum(one[what] == word for one in draws) for word in ("right", "wrong"))
    said = right + wrong
    high = float(beta.ppf(0.95, wrong + 1, right)) if right else 1.0
    return {"right": right, "wrong": wrong, "abstains": len(draws) - said, "upper_bound_95": high}


def line(name: str, draws: list[dict]) -> str:
    """A row of the table: right / wrong / abstained of each finding."""
    parts = [summary(draws, what) for what in WHAT]
    cells = [f"{part['right']} / {part['wrong']} / {part['abstains']}" for part in parts]
    return f"| {name} | {len(draws)} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", type=int, default=100, help="settings of plain clients")
    parser.add_argument("--each", type=int, default=8, help="settings of each other kind")
    parser.add_argument("--draws", type=int, default=2, help="draws of each setting")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    arguments = parser.parse_args()
    job.use_threads(1)
    rng = np.random.default_rng(arguments.seed)
    pools = {name: split(name, builtin.load(name)) for name in MODELS}
    models, found = {}, []
    print(f"| kind | draws | {' | '.join(WHAT)} |\n| --- | --- | --- | --- | --- |")
    for name in arguments.kinds:
        kind = KINDS[name]
        draws = []
        for _ in range(arguments.plain if name == "plain" else arguments.each):
            options = settings(rng, name)
            own = pools[options.dataset]
            key = (
                kind.batch_norm,
                options.dataset,
                options.model,
                options.model_seed,
                options.pretrain_epochs,
            )
            if key not in models:
                models[key] = global_model(kind, options, own["pretraining"])
            public = to_float(own["public"].x[:400]), own["public"].y[:400]
            for draw in rng.integers(1 << 30, size=arguments.draws):
                direction = int(rng.choice([1, -1]))
                one = update(name, options, models[key], own["private"], int(draw))
                if all(np.isfinite(part).all() for part in one.delta):  # some diverge
                    draws.append(judge(one, models[key].to_json(), public, direction))
        print(line(name, draws), flush=True)
        found += draws
    print(line("all", found))
    result = {"seed": arguments.seed, **{what: summary(found, what) for what in WHAT}}
    for what in WHAT:
        print(f"{what}: wrong in at most {result[what]['upper_bound_95']:.1%} of what is said (95 %)")
    path = ROOT / "results" / "benchmarks" / "mapping.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result, "each": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
