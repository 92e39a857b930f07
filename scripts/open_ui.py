"""MLflow's UI on the results of this folder, with a link to the cells of each study. Started by `make ui`."""

import argparse
import os
import sys

from gradleak.tracking import experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", default="sqlite:///results/mlflow/mlflow.db")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="5000")
    chosen = parser.parse_args()
    links = experiments.links(chosen.uri, f"http://{chosen.host}:{chosen.port}")
    if not links:
        sys.exit(f"{chosen.uri} holds no study yet: make run, or snakemake, writes one")
    print("\n".join(f"{name}: {link}" for name, link in links.items()), flush=True)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # One worker is enough for one user. Several supervise each other, and restart on a busy machine.
    where = [
        "--backend-store-uri",
        chosen.uri,
        "--host",
        chosen.host,
        "--port",
        chosen.port,
        "--workers",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *where])


if __name__ == "__main__":
    main()
