"""Runs scripts/fetch_artifacts.py many times. Python and NumPy are loaded once, and each run is a fork.

As a program it reads a JSON line {folder, results, ids, environment} from standard input, forks, runs the
script in the fork as Snakemake would, and answers [exit code, peak memory in kB of the script and of its
child process].
"""

import json
import os
import resource
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

SCRIPTS = Path(__file__).parents[2] / "scripts"
SECONDS = 60


class Sandbox:
    def __init__(self):
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OPENBLAS_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, results, folder=None, ids=(), **environment):
        """(exit code, the script's log, peak memory in kB). A negative code is a signal."""
        order = {
            "folder": str(folder) if folder else None,
            "results": str(results),
            "ids": list(ids),
            "environment": environment,
        }
        print(json.dumps(order), file=self.server.stdin, flush=True)
        code, memory = json.loads(self.server.stdout.readline())
        log = Path(results) / "fetch.log"
        return code, log.read_text() if log.exists() else "", memory

    def close(self):
        self.server.stdin.close()
        self.server.wait(10)


def run_script(folder, results, ids, environment):
    os.environ.update(environment)
    files = sorted(str(path) for path in Path(folder).iterdir()) if folder else []
    snakemake = SimpleNamespace(
        input=SimpleNamespace(get=lambda _, __: files),
        output=SimpleNamespace(artifacts=f"{results}/targets/t", sums=f"{results}/targets/t.sha256"),
        params=SimpleNamespace(
            ids=ids, cache=f"{results}/fetched", lock=f"{results}/artifacts.lock.json", draw=0
        ),
        log=[f"{results}/fetch.log"],
        rule="fetch_artifacts",
        wildcards={"target": "t"},
        threads=1,
    )
    signal.alarm(SECONDS)
    runpy.run_path(str(SCRIPTS / "fetch_artifacts.py"), {"snakemake": snakemake})


def serve():
    import gdown  # noqa: F401  loaded before the forks

    import gradleak.jobs.job  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            try:
                os.dup2(2, 1)  # standard output is for the answers
                run_script(**order)
                code = 0
            except SystemExit as error:
                code = error.code
            except BaseException as error:
                print(f"the script let through {error!r}", file=sys.stderr)
                code = 99
            os._exit(code)
        _, status, usage = os.wait4(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve()
