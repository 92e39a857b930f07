"""The cost of a whole attack job (start-up, tracing, steps), and of a sweep in one process or one per trial.

    python tests/benchmarks/bench_jobs.py [--steps 300] [--trials 64] [--output results/benchmarks/jobs.json]

A job is the workflow's own script on files of its own: a DLG block on `cnn7`, one image in each update, every
trial another client. It runs with one thread, as jobs do by default. The sweep is one such job; against it
stands a job of a single trial, of which the fastest of several counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from gradleak.datasets import builtin  # noqa: E402
from gradleak.datasets.pools import split, write_pool  # noqa: E402
from gradleak.federated.options import ClientOptions  # noqa: E402


def prepare(folder: Path, trials: int) -> None:
    """The inputs of the attack rule: a mapping of ``trials`` draws, public images, label counts."""
    from gradleak.federated import client
    from gradleak.files import write_npz
    from gradleak.mapping.files import MappedBlock, trainable_places, write_block
    from gradleak.mapping.head import find_head

    pools = split("mnist-5k", builtin.load("mnist-5k"))
    options = ClientOptions(batch_size=1, pretrain_epochs=1, learning_rate=1.0)
    model = client.global_model(options, pools["pretraining"])
    draws = client.simulate(options, model, pools["private"], list(range(trials)))
    variables = len(model.trainable_variables)
    block = MappedBlock(
        model_json=model.to_json(),
        weights=model.get_weights(),
        gradients=[-np.stack([draw.delta[i] for draw in draws]) for i in range(variables)],
        trainable=trainable_places(model),
        layer=np.arange(variables) // 2,
        samples=1,
        public_softmax=np.full((10, 10), 0.1, np.float32),
        rounding=0.0,
        noise=np.zeros(variables),
        steps=1,
        draws=np.arange(trials),
        head=find_head(model)[0],
        scale_confidence=0.9,
    )
    write_block(folder / "mapping.npz", block)
    write_pool(folder / "public.npz", pools["public"])
    write_npz(folder / "labels.npz", counts=np.eye(10, dtype=int)[[draw.private.y[0] for draw in draws]])


class Inputs(SimpleNamespace):
    """Named files as a rule has them."""

    def get(self, name, default=None):
        return getattr(self, name, default)


def attack(trials: int, steps: int) -> None:
    """In a process of its own, in the folder with the files: one job, as the rule would run it."""
    import invert_pixels
    from gradleak.jobs import job as jobs

    wildcards = {"cell": "0" * 10, "block": f"0000-{trials - 1:04d}"}
    job = SimpleNamespace(
        input=Inputs(mapping=["mapping.npz"], public="public.npz", labels=["labels.npz"]),
        output=SimpleNamespace(inversion="inversion.npz", record="record.json"),
        log=["job.log"],
        threads=1,
        rule="invert_pixels",
        wildcards=Wildcards(wildcards),
        resources=SimpleNamespace(mem_mb=4000, trials_at_once=0),
        params=SimpleNamespace(
            spec={"steps": steps}, seeds=list(range(trials)), draws=list(range(trials)), code=""
        ),
    )
    with jobs.job(job, tensorflow=True):
        invert_pixels.main(job)


class Wildcards(dict):
    __getattr__ = dict.__getitem__


def measured(folder: Path, trials: int, steps: int) -> dict:
    """Seconds of a whole process, and of its parts."""
    labels = folder / "labels.npz"
    with np.load(labels) as archive:
        counts = archive["counts"]
    place = folder / f"{trials}"
    place.mkdir(exist_ok=True)
    for name in ("mapping.npz", "public.npz"):
        if not (place / name).exists():
            os.link(folder / name, place / name)
    np.savez(place / "labels.npz", counts=counts[:trials])
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--attack",
        "--trials",
        str(trials),
        "--steps",
        str(steps),
    ]
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=place)
    whole = time.perf_counter() - begun
    parts = json.loads((place / "record.json").read_text())["seconds"]
    rest = whole - parts["tracing"] - parts["compute"]
    return {
        "trials": trials,
        "whole_s": whole,
        "start_up_and_files_s": rest,
        "tracing_s": parts["tracing"],
        "steps_s": parts["compute"],
        "per_trial_s": whole / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/jobs.json"))
    parser.add_argument("--attack", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        attack(arguments.trials, arguments.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.trials)
        alone = [measured(folder, 1, arguments.steps) for _ in range(3)]
        sweep = measured(folder, arguments.trials, arguments.steps)
    one = min(alone, key=lambda job: job["whole_s"])
    report = {
        "steps": arguments.steps,
        "sweep": sweep,
        "one_per_process": one,
        "all_alone": alone,
        "ratio": sweep["per_trial_s"] / one["per_trial_s"],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print("| job | whole | start-up and files | tracing | steps | per trial |\n" + "| --- " * 6 + "|")
    for job in (sweep, one):
        parts = (
            f"{job[key]:.2f} s"
            for key in ("whole_s", "start_up_and_files_s", "tracing_s", "steps_s", "per_trial_s")
        )
        print(f"| {job['trials']} trials | " + " | ".join(parts) + " |")
    print(f"\nPer trial the sweep costs {report['ratio']:.3f} of a process of its own.")


if __name__ == "__main__":
    main()
