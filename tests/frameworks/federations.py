"""What the tests share. Frameworks have an environment: .venv-frameworks, or GRADLEAK_FRAMEWORKS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ROUNDS, IMAGES = 2, 2


def interpreter() -> Path:
    return Path(os.environ.get("GRADLEAK_FRAMEWORKS", ROOT / ".venv-frameworks")) / "bin" / "python"


def require(*packages: str) -> None:
    """Skip the module without the packages, with the command that installs them."""
    names = ", ".join(packages)
    code = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(p) is None for p in {packages!r}))"
    if not interpreter().exists() or subprocess.run([interpreter(), "-c", code]).returncode:
        pytest.skip(f"needs {names}: run `make frameworks-test`", allow_module_level=True)


def run(script: str, *arguments: object) -> None:
    """A script of this folder with the frameworks' Python. arguments: the data, OUT, and others."""
    done = subprocess.run(
        [interpreter(), HERE / script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(arguments[1]), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def unlike_own(recorded: Path, own: Path, clients: tuple[str, ...]) -> list[str]:
    """The recorded deltas that are not, bit for bit, those that the clients computed."""
    odd = []
    for number in range(1, ROUNDS + 1):
        for client in clients:
            place = f"round-{number:04d}/client-{client}"
            with np.load(recorded / place / "delta.npz") as found, np.load(own / f"{place}.npz") as expected:
                pairs = zip(found.files, expected.files, strict=True)  # the older API has no names
                if any(found[a].tobytes() != expected[b].tobytes() for a, b in pairs):
                    odd.append(place)
    return odd


def write_model(path: Path) -> None:
    """The clients' network in Keras."""
    import keras

    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(300, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    path.write_text(keras.Sequential([keras.Input((8, 8, 1)), *layers]).to_json(), encoding="utf-8")


def write_truth(folder: Path, data: Path, clients: tuple[str, ...]) -> None:
    """The private images of each update, for the scoring."""
    with np.load(data) as arrays:
        for number in range(ROUNDS):
            for place, client in enumerate(clients):
                path = folder / f"round-{number + 1:04d}" / f"client-{client}.npz"
                path.parent.mkdir(parents=True, exist_ok=True)
                x = (arrays[f"x_{place}"][number].reshape(-1, 8, 8, 1) * 255).round().astype("uint8")
                np.savez(path, x=x, y=arrays[f"y_{place}"][number])


def copied(project: Path) -> None:
    """A copy of the project, to audit in."""
    for name in ("Snakefile", "rules", "scripts", "config", "profiles", "envs", "docs"):
        source = ROOT / name
        shutil.copytree(source, project / name) if source.is_dir() else shutil.copy(source, project)


def with_run(project: Path, run_folder: Path) -> Path:
    """The same, with a recorded run and the clients' network in it. Returns the folder of the run there."""
    copied(project)
    mine = project / "runs/mine"
    shutil.copytree(run_folder, mine)
    write_model(mine / "model.json")
    return mine


def audit(project: Path, *arguments: str) -> str:
    """``make audit`` in a copy of the project, without the set-up of an environment."""
    done = subprocess.run(
        [sys.executable, "-m", "gradleak.workflow.audit", "--cores", "2", *arguments],
        cwd=project,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            "PYTHONPATH": "scripts",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout
