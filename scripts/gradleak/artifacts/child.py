"""The process in which untrusted files are read: ``python -m gradleak.artifacts.child TARGET FILE …``.
With ``--model`` before TARGET, the one FILE is a model by itself.

It first limits itself: memory, time, descriptors, new processes, the network, and files outside TARGET. Then
it reads the files and writes the leak in plain form to TARGET. Standard output has a line ``reading FILE``
before each file, and a line ``refused REASON`` after a failure.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from gradleak.artifacts import limits, roles
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak, write_leak

# Auditing events (PEP 578) that a payload would raise and that reading arrays never raises. The process ends
# at once, so a payload cannot catch the refusal.
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "subprocess.Popen",
    "pty.spawn",
    "socket.",
    "ctypes.",
    "shutil.",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.putenv",
    "webbrowser.open",
    "code.__new__",
    "ftplib.",
    "smtplib.",
    "urllib.Request",
    "winreg.",
)


def confine(target: Path) -> None:
    """Limit this process for the rest of its life."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.CHILD_BYTES, limits.CHILD_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.CHILD_SECONDS, limits.CHILD_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.MAX_FILE, limits.MAX_FILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    inside = str(target.resolve()) + os.sep

    def outside(path: str | bytes) -> bool:
        return not (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(inside)

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if writes and (isinstance(path, int) or outside(path)):
                _stop(f"open {path!r} for writing")
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir"):
            if any(outside(one) for one in arguments if isinstance(one, str | bytes)):
                _stop(event)
        elif event.startswith(FORBIDDEN):
            _stop(event)

    sys.addaudithook(watch)


def _stop(what: str) -> None:
    os.write(1, f"refused it tried to run {what}, which no artifact does\n".encode())
    os._exit(3)


MODEL = "--model"


def main(target: Path, files: list[Path], is_model: bool = False) -> int:
    confine(target)
    try:
        leak = _model(files[0]) if is_model else roles.inspect(files, progress=_say)
        write_leak(target, leak)
    except ArtifactError as error:
        print("refused", " ".join(str(error).split()), flush=True)
        return 2
    print("done", flush=True)
    return 0


def _model(path: Path) -> Leak:
    _say(path)
    return roles.inspect_model(path)


def _say(path: Path) -> None:
    print(f"reading {path}", flush=True)


if __name__ == "__main__":
    import h5py  # noqa: F401  loaded while that is still allowed
    import safetensors  # noqa: F401

    asked = [Path(name) for name in sys.argv[1:] if name != MODEL]
    sys.exit(main(asked[0], asked[1:], sys.argv[1] == MODEL))
