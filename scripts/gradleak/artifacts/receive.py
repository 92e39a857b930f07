"""Untrusted files → a leak in plain form, by way of the confined child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from gradleak.artifacts import architecture, child, limits
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak, read_leak

LIBRARY = Path(child.__file__).parents[2]


@dataclass(frozen=True)
class _Outcome:
    """How the child process ended. late: it was killed since it took too long."""

    code: int
    output: str
    errors: str
    late: bool

    def lines(self, word: str) -> list[str]:
        """The rest of each output line that begins with ``word``."""
        return [x.removeprefix(f"{word} ") for x in self.output.splitlines() if x.startswith(f"{word} ")]


def receive(files: list[Path], folder: Path) -> Leak:
    """Read ``files`` in a process of its own and leave the leak in ``folder``, an existing empty folder.

    Raises ArtifactError with the file and the reason, also where reading exceeds the memory or the time, or
    crashes.
    """
    return _received(_run_child(files, folder), files, folder)


def receive_model(path: Path, folder: Path) -> Leak:
    """The same for a model by itself: ``before`` has the weights of the file, if it has any, and ``delta`` is
    empty.
    """
    return _received(_run_child([path], folder, child.MODEL), [path], folder)


def _received(done: _Outcome, files: list[Path], folder: Path) -> Leak:
    if done.code == 0 and not done.late:
        leak = read_leak(folder)
        # The child read untrusted bytes, so its model is checked again.
        return replace(leak, model_json=architecture.read(leak.model_json, str(folder / "model.json")).json)
    for name in os.listdir(folder):
        (folder / name).unlink()
    raise ArtifactError(_refusal(done, str(files[0] if files else folder)))


def _run_child(files: list[Path], folder: Path, *flags: str) -> _Outcome:
    environment = {
        "PYTHONPATH": str(LIBRARY),
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment |= {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_", "LD_LIBRARY_PATH"))}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    module = [sys.executable, "-P", "-B", "-m", "gradleak.artifacts.child"]
    command = [*module, *flags, str(folder), *map(str, files)]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
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
    return _Outcome(process.returncode, output, errors, late)


def _refusal(done: _Outcome, first: str) -> str:
    """Why no leak was made: the file and the reason. first: the place to name if the child read no file."""
    refusals, reading = done.lines("refused"), done.lines("reading")
    where = reading[-1] if reading else first
    if done.code == 2 and refusals:
        return refusals[-1]
    if refusals:
        return f"{where}: {refusals[-1]}; do not trust the sender"
    if done.late or done.code == -signal.SIGXCPU:
        return f"{where}: reading it took more than {limits.CHILD_SECONDS} s; it is damaged or hostile"
    if done.code < 0:
        ended = signal.Signals(-done.code).name
        return f"{where}: the process that read it was ended by {ended}; it is damaged or hostile"
    last = (done.errors.strip().splitlines() or [f"exit {done.code}"])[-1]
    return f"{where}: cannot be read ({last})"
