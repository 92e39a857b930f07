"""A stranger's files → a leak in plain form, by way of the confined child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from gradleak.artifacts import child, limits
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak, read_leak

LIBRARY = Path(child.__file__).parents[2]


def receive(files: list[Path], folder: Path) -> Leak:
    """Read ``files`` in a process of its own and leave the leak in ``folder``, an existing empty folder.

    Raises ArtifactError with the file and the reason, also where reading it ran out of memory or time or crashed.
    """
    environment = {
        "PYTHONPATH": str(LIBRARY),
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment |= {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_", "LD_LIBRARY_PATH"))}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-P", "-B", "-m", "gradleak.artifacts.child", str(folder), *map(str, files)]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limits.CHILD_SECONDS + 5)
        late = False
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        late = True
    lines = output.splitlines()
    if process.returncode == 0 and not late:
        return read_leak(folder)
    for name in os.listdir(folder):
        (folder / name).unlink()
    refusals = [line.removeprefix("refused ") for line in lines if line.startswith("refused ")]
    reading = [line.removeprefix("reading ") for line in lines if line.startswith("reading ")]
    where = reading[-1] if reading else str(files[0] if files else folder)
    if process.returncode == 2 and refusals:
        raise ArtifactError(refusals[-1])
    if refusals:
        raise ArtifactError(f"{where}: {refusals[-1]}; do not trust whoever sent it")
    if late or process.returncode == -signal.SIGXCPU:
        raise ArtifactError(
            f"{where}: reading it took more than {limits.CHILD_SECONDS} s; it is damaged or hostile"
        )
    if process.returncode < 0:
        raise ArtifactError(
            f"{where}: the process that read it was ended by {signal.Signals(-process.returncode).name}; "
            "it is damaged or hostile"
        )
    last = (errors.strip().splitlines() or [f"exit {process.returncode}"])[-1]
    raise ArtifactError(f"{where}: cannot be read ({last})")
