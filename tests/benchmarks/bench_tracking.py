"""Tables and MLflow for ten thousand synthetic trials; every step is a process, including its start-up.

    python tests/benchmarks/bench_tracking.py [--trials 10000] [--uri URI] [--keep FOLDER]

Steps: tables; first sync; sync with nothing to do; sync after one changed trial; what the UI asks for (a page
of runs, a filtered one, one metric's history). Writes results/benchmarks/tracking.json: wall seconds and CPU
seconds of each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from gradleak.evaluation.figures.registry import FIGURES  # noqa: E402

SEEDS, DRAWS, IMAGES = 8, 8, 8
WEIGHTINGS = ["uniform", "depth", "inverse_depth", "first", "last"]


def plan(trials: int) -> dict[str, dict]:
    """Cell id → attack, target, parameters: as many as ``trials`` need, every one another point of a grid."""
    return {
        f"{index:010x}": {
            "attack": "dlg",
            "target": "synthetic",
            "parameters": {
                "steps": 400,
                "lr": 0.1,
                "loss": "cosine",
                "tv": 1e-3 * (index % 7),
                "labels": "recovered",
                "control": "none",
                "weighting": WEIGHTINGS[index % 5],
                "init": ["noise", "mean"][index // 5 % 2],
                "restarts": index // 10,
                "target.dataset": "mnist-5k",
                "target.batch_size": [1, 8, 32][index % 3],
                "target.samples": None,
                **{f"target.setting{k}": k for k in range(16)},
            },
        }
        for index in range(-(-trials // SEEDS))
    }


def make(folder: Path, trials: int) -> None:
    """Records, scores and pairs as the stages write them: a curve of 200 points and images for each trial."""
    from gradleak import records
    from gradleak.files import write_json, write_npz

    rng, block = np.random.default_rng(0), f"0000-{SEEDS - 1:04d}"
    (folder / "figures").mkdir(parents=True)
    for name in FIGURES:
        (folder / f"figures/{name}.png").write_bytes(rng.bytes(100_000))
    steps = np.arange(2000)
    blobs = np.zeros((64, 28, 28, 1), np.uint8)
    for blob, (y, x) in zip(blobs, rng.integers(4, 20, (64, 2)), strict=True):
        blob[y - 4 : y + 8, x : x + 5] = rng.integers(100, 255)
    for number, cell in enumerate(plan(trials)):
        level = 8 + 20 * rng.random()
        rows = [
            {
                "seed": seed,
                "counts": [1] * 10,
                "true_counts": [1] * 10,
                "matched": IMAGES,
                "share_30db": 0.0,
                **{
                    name: float(rng.normal(level, 1))
                    for name in ("psnr", "psnr_median", "psnr_best", "nearest_public_psnr")
                },
                **{
                    name: float(rng.random())
                    for name in ("ssim", "mse", "share_20db", "reference_accuracy", "irec", "skill", "leacc")
                },
            }
            for seed in range(SEEDS)
        ]
        failed = number % 50 == 49  # one cell in fifty has a trial that diverged
        rows = [row if seed or not failed else {"seed": 0} for seed, row in enumerate(rows)]
        whole = [
            records.trial(
                s,
                s % DRAWS,
                "diverged" if failed and not s else "ok",
                "no finite objective" if failed and not s else "",
                0.1,
                records.thin(steps, np.exp(-steps / 500) + 0.01 * rng.random(len(steps))),
            )
            for s in range(SEEDS)
        ]
        write_json(
            folder / f"inversions/{cell}/{block}.json",
            {
                "cell": cell,
                "block": block,
                "parameters": {},
                "code": "c0de",
                "threads": 1,
                "environment": records.environment(),
                "job": "",
                "started": 1.7e9 + 60 * number,
                "seconds": {"total": 40.0},
                "cpu_seconds": 40.0,
                "peak_mb": 900.0,
                "trials": whole,
            },
        )
        write_json(folder / f"scores/{cell}/{block}.json", rows)
        chosen = rng.integers(0, 64, (2, SEEDS, IMAGES))
        write_npz(
            folder / f"scores/{cell}/{block}.npz",
            found=blobs[chosen[0]],
            truth=blobs[chosen[1]],
            psnr=np.full((SEEDS, IMAGES), 12.0, np.float32),
            pairs=np.full(SEEDS, IMAGES),
        )


class Files(dict):
    """Named files as a rule has them."""

    __getattr__ = dict.__getitem__


def job(folder: Path, trials: int, uri: str) -> SimpleNamespace:
    """What Snakemake would hand to the scripts of summarise and sync_mlflow."""
    cells, block = plan(trials), f"0000-{SEEDS - 1:04d}"
    tables = {
        name: str(folder / f"tables/{name}.csv")
        for name in ("trials", "cells", "labels", "headline", "effects")
    }
    return SimpleNamespace(
        input=Files(
            rows=[str(folder / f"scores/{c}/{block}.json") for c in cells],
            records=[str(folder / f"inversions/{c}/{block}.json") for c in cells],
            pairs=[str(folder / f"scores/{c}/{block}.npz") for c in cells],
            figures=[str(folder / f"figures/{name}.png") for name in FIGURES],
            **tables,
        ),
        output=Files(
            marker=str(folder / "mlflow/synced.json"), latex=str(folder / "tables/headline.tex"), **tables
        ),
        params=SimpleNamespace(
            blocks=[(c, block) for c in cells],
            cells=cells,
            studies={"synthetic": {c: (block,) for c in cells}},
            missing=[],
            descriptions={"synthetic": "Synthetic trials of the benchmark."},
            uri=uri,
            prune=False,
        ),
    )


def step(name: str, folder: Path, trials: int, uri: str) -> None:
    """One step, in this process."""
    import logging

    from gradleak.jobs.job import log

    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    work = job(folder, trials, uri)
    if name == "tables":
        import summarise

        summarise.main(work)
    elif name == "ui":
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("gradleak/synthetic").experiment_id
        for what, query, order in (
            ("page of runs", "", ["attributes.start_time DESC"]),
            (
                "filtered, ordered by PSNR",
                "tags.weighting = 'depth' and metrics.psnr > 20",
                ["metrics.psnr DESC"],
            ),
        ):
            began = time.monotonic()
            page = client.search_runs([experiment], query, max_results=100, order_by=order)
            print(f"search_runs, {what}: {len(page)} runs, {time.monotonic() - began:.2f} s", file=sys.stderr)
        began = time.monotonic()
        points = client.get_metric_history(page[0].info.run_id, "loss")
        print(f"history: {len(points)} points, {time.monotonic() - began:.2f} s", file=sys.stderr)
    else:
        import sync_mlflow

        sync_mlflow.main(work)


def change(folder: Path, trials: int) -> None:
    """One trial of one cell comes out otherwise."""
    from gradleak.files import read_json, write_json

    path = job(folder, trials, "").input.rows[7]
    rows = read_json(path)
    rows[3]["psnr"] += 1
    write_json(path, rows)


def measured(arguments: list[str]) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, __file__, *arguments], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.monotonic() - began, 2), "cpu_seconds": round(cpu, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--uri", help="default: a new SQLite database")
    parser.add_argument("--keep", help="work in this folder and leave it")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.keep or temporary).absolute()
        uri = chosen.uri or f"sqlite:///{folder}/mlflow/mlflow.db"
        if chosen.step:
            return step(chosen.step, folder, chosen.trials, uri)
        make(folder, chosen.trials)
        own = ["--trials", str(chosen.trials), "--uri", uri, "--keep", str(folder), "--step"]
        found = {"trials": chosen.trials, "cores": os.cpu_count(), "store": uri.split(":")[0]}
        for name in ("tables", "first sync", "sync with nothing to do"):
            found[name] = measured([*own, name])
        change(folder, chosen.trials)
        found["tables again"] = measured([*own, "tables"])
        found["sync of one changed trial"] = measured([*own, "changed"])
        found["ui"] = measured([*own, "ui"])
    out = ROOT / "results/benchmarks/tracking.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
