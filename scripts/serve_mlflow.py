"""A tracking server for a team: MLflow in front of PostgreSQL, a local one unless --uri names another.

Started by `make tracking-server`. Unknown options are passed to `mlflow server`. A local PostgreSQL ends with
it.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from gradleak.errors import UserError
from gradleak.tracking import postgres, stores


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uri", help="a PostgreSQL that runs already: postgresql://user@host/database")
    parser.add_argument(
        "--folder", type=Path, default=Path("results/mlflow/server"), help="where database and images lie"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    chosen, more = parser.parse_known_args()
    images = chosen.folder.absolute() / "artifacts"
    images.mkdir(parents=True, exist_ok=True)
    local = contextlib.nullcontext(chosen.uri) if chosen.uri else postgres.running(chosen.folder / "postgres")
    for number in (signal.SIGTERM, signal.SIGINT):  # both end the server first, the database after it
        signal.signal(number, lambda *_: sys.exit(0))
    with local as uri:
        stores.create_schema(uri)
        print(
            f"\nTracking server: http://{chosen.host}:{chosen.port} (open it in a browser)\n"
            "To sync through it from any host:\n"
            f"  export MLFLOW_TRACKING_URI=http://{chosen.host}:{chosen.port}\n"
            "To sync straight into the database, which is many times faster:\n"
            f"  export MLFLOW_TRACKING_URI='{uri}'\n",
            flush=True,
        )
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            uri,
            "--artifacts-destination",
            images.as_uri(),
            "--host",
            chosen.host,
            "--port",
            str(chosen.port),
            *more,
        ]
        server = subprocess.Popen(
            command, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}, start_new_session=True
        )
        try:
            return server.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)  # its workers too
            server.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"ERROR: {error}")
