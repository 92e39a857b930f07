"""A private PostgreSQL server, run from an installed package: no service, no port, no password.

It listens on a socket in a folder that only its user can enter. PostgreSQL refuses to run as root; root's
runs as the user that Debian's package makes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gradleak.errors import UserError

INSTALL = "apt-get install postgresql"
USER = "postgres"  # the system's user for root, and the database's


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest version; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start the server of the cluster in ``folder``, made if new, and stop it at the end. Yields its URI.

    Raises UserError where PostgreSQL is not installed or does not start.
    """
    bin_folder, folder = programs(), folder.absolute()
    if bin_folder is None:
        raise UserError(
            f"PostgreSQL is not installed: {INSTALL}, or name a server that runs: --uri postgresql://…"
        )
    folder.mkdir(parents=True, exist_ok=True)
    data, log = folder / "data", folder / "postgres.log"
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
        if subprocess.run(["runuser", "-u", USER, "--", "test", "-x", folder], check=False).returncode:
            raise UserError(
                f"{folder}: the user {USER} cannot enter it; as root, choose one that it can: "
                "--folder /var/lib/gradleak"
            )
    folder.chmod(0o700)
    if not (data / "PG_VERSION").exists():
        _run(bin_folder / "initdb", "-D", data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C")
    options = f"-k '{folder}' -c listen_addresses='' -c max_connections=200"
    _run(bin_folder / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "120", "-o", options, "start")
    try:
        at: list[str | Path] = ["-h", folder, "-U", USER]
        if (
            "gradleak"
            not in _run(bin_folder / "psql", *at, "-Atc", "SELECT datname FROM pg_database", USER).split()
        ):
            _run(bin_folder / "createdb", *at, "gradleak")
        yield f"postgresql://{USER}@/gradleak?host={folder}"
    finally:
        _run(bin_folder / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop")


def _run(*command: str | Path) -> str:
    prefix = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    # No pipe for the output of `start`: the server would keep it open, and this process would wait for it.
    done = subprocess.run(
        [*prefix, *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output="start" not in command,
        text=True,
        cwd="/",
    )
    if done.returncode:
        raise UserError(
            f"{Path(command[0]).name} failed: {(done.stderr or '').strip()[-2000:] or 'its output is above'}"
        )
    return done.stdout or ""
