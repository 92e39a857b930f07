"""MLflow's UI on the results of this folder, with a link to the cells of each study. Started by `make ui`.

Of a tracking server that runs elsewhere it prints the links.
"""

import argparse
import os
import sys
from pathlib import Path

from gradleak.files import read_json
from gradleak.tracking import addresses, artifact_folders, experiments, locks

SYNCED = Path("results/mlflow/synced.json")  # what the last sync of this folder wrote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", help="default: where the last sync of this folder went")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="5000")
    chosen = parser.parse_args()
    uri = chosen.uri or os.environ.get(addresses.VARIABLE) or _last_synced() or addresses.DEFAULT
    if addresses.MASK in uri:
        sys.exit(f"The last sync went to {uri}. Its password is not kept: export {addresses.VARIABLE}=…")
    is_server = not locks.is_database(uri)
    artifact_folders.move_here(uri)
    links = experiments.links(uri, uri.rstrip("/") if is_server else f"http://{chosen.host}:{chosen.port}")
    if not links:
        sys.exit(f"{uri} holds no study yet: make run, or snakemake, writes one")
    print("\n".join(f"{name}: {link}" for name, link in links.items()), flush=True)
    if is_server:
        return  # it runs already
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # One worker is enough for one user. Several supervise each other, and restart on a busy machine.
    where = [
        "--backend-store-uri",
        uri,
        "--host",
        chosen.host,
        "--port",
        chosen.port,
        "--workers",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *where])


def _last_synced() -> str | None:
    return read_json(SYNCED)["uri"] if SYNCED.exists() else None


if __name__ == "__main__":
    main()
