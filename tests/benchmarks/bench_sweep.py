"""Where the processor time of a sweep goes: the ablation study at reduced steps, on the local executor.

    python tests/benchmarks/bench_sweep.py [--steps 300] [--part] [--cores 2] [--output sweep.json]

Compute is the steps of the attacks. The other parts are start-up (imports, files), tracing, scoring,
scheduling (Snakemake itself), and preparing (clients, mappings, label counts, the reference classifier,
tables). All are processor times; that of an attack's process is divided like its wall time. Every Python
process reports its time at its end; unreported time (shells, the last moments of a process) counts as
preparing. --part: 6 of the 162 cells, every label strategy at N = 1 and 32.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]


def study(steps: int, part: bool) -> dict:
    config = yaml.safe_load((ROOT / "config/studies/ablation.yaml").read_text())
    entry = config["studies"]["ablation"]["cells"][0]
    entry["steps"] = steps
    if part:
        entry["axes"] |= {
            "target.batch_size": [1, 32],
            "weighting": ["uniform"],
            "target.pretrain_epochs": [1],
            "target.local_epochs": [1],
        }
    return {"study": "ablation", **config}


# Python imports a module of this name when it starts.
AT_EXIT = """import atexit, os, pathlib, sys
def note():
    spent = os.times()
    folder = pathlib.Path(os.environ["PROCESSOR_TIMES"])
    seconds = spent.user + spent.system
    (folder / f"{os.getpid()}-{spent.elapsed}").write_text(f"{pathlib.Path(sys.argv[0]).name} {seconds}")
atexit.register(note)
"""


def processor_times(folder: Path) -> Counter:
    """Processor seconds by script: simulate_client, score, …; Snakemake's own as __main__."""
    spent: Counter = Counter()
    for path in folder.iterdir():
        name, seconds = path.read_text().rsplit(" ", 1)
        spent[name.removesuffix(".py").rsplit(".", 1)[-1]] += float(seconds)
    return spent


def run(folder: Path, cores: int) -> dict:
    """The whole workflow: seconds on the clock, of all processors, and most jobs at once."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        str(cores),
        "--configfile",
        "mine.yaml",
        "--quiet",
        "all",
    ]
    times, hook = folder / "times", folder / "hook"
    times.mkdir()
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(AT_EXIT)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(hook),
        "PROCESSOR_TIMES": str(times),
    }
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        watched = psutil.Process(process.pid)
        running = [0]

        def watch() -> None:
            while process.poll() is None:
                try:
                    jobs = [
                        p for p in watched.children(recursive=True) if "/scripts/" in " ".join(p.cmdline())
                    ]
                    running[0] = max(running[0], len({p.pid for p in jobs if p.name().startswith("python")}))
                except psutil.Error:
                    pass
                time.sleep(0.5)

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-4000:])
    return {
        "wall_s": time.perf_counter() - begun,
        "jobs_at_once": running[0],
        "scripts": processor_times(times),
        "total": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--part", action="store_true")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/sweep.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rules", "scripts", "config", "profiles", "envs", "docs"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "mine.yaml").write_text(yaml.safe_dump(study(arguments.steps, arguments.part)))
        measured = run(folder, arguments.cores)
        split = {"start-up": 0.0, "tracing": 0.0, "compute": 0.0}
        blocks = 0
        for path in folder.glob("results/inversions/*/*.json"):
            record = json.loads(path.read_text())
            bench = folder / "results/benchmarks/invert_pixels" / path.parent.name / f"{path.stem}.tsv"
            whole = float(next(csv.DictReader(bench.open(), delimiter="\t"))["s"])
            shares = {key: record["seconds"][key] / whole for key in ("tracing", "compute")}
            shares["start-up"] = 1 - sum(shares.values())
            for key, share in shares.items():
                split[key] += share * record["cpu_seconds"]
            blocks += 1
        split["scoring"] = measured["scripts"]["score"]
        split["scheduling"] = measured["scripts"]["__main__"]
        split["preparing"] = measured["total"] - sum(split.values())
    report = {
        "steps": arguments.steps,
        "blocks": blocks,
        "cores": arguments.cores,
        **measured,
        "split": split,
        "load": os.getloadavg(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print("| " + " | ".join(split) + " |\n" + "| --- " * len(split) + "|")
    print("| " + " | ".join(f"{100 * value / measured['total']:.0f} %" for value in split.values()) + " |")
    print(
        f"\n{blocks} blocks of {arguments.steps} steps: {measured['total']:.0f} s of processor time; "
        f"at most {measured['jobs_at_once']} jobs at once on {arguments.cores} cores."
    )


if __name__ == "__main__":
    main()
