"""The confinement of the process that reads untrusted files."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import corpus
import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def confined(tmp_path, code, before="pass"):
    """Run ``code`` as a payload that the allowlist had let through."""
    target = str(tmp_path / "target")
    start = (
        "from pathlib import Path; from gradleak.artifacts import child; "
        f"{before}; child.confine(Path({target!r}))"
    )
    (tmp_path / "target").mkdir()
    return subprocess.run(
        [sys.executable, "-c", f"import os, subprocess, socket, sys, numpy as np\n{start}\n{code}"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "code",
    [
        "os.system('touch {marker}')",
        "subprocess.run(['touch', {marker!r}])",
        "os.execv('/bin/touch', ['touch', {marker!r}])",
        "os.posix_spawn('/bin/touch', ['touch', {marker!r}], dict())",
        "os.fork()",
        "open({marker!r}, 'w')",
        "os.open({marker!r}, os.O_CREAT | os.O_WRONLY)",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.remove({victim!r})",
        "os.rename({victim!r}, {marker!r})",
        "import ctypes; ctypes.CDLL('libc.so.6').system(b'touch {marker}')",
        "try:\n    os.system('touch {marker}')\nexcept BaseException:\n    pass\nsys.exit(0)",
    ],
)
def test_a_payload_that_passes_the_allow_list_is_stopped_by_the_confinement(tmp_path, code):
    marker, victim = tmp_path / "it-ran", tmp_path / "victim"
    victim.write_text("here")
    done = confined(
        tmp_path,
        code.replace("{marker!r}", repr(str(marker)))
        .replace("{victim!r}", repr(str(victim)))
        .replace("{marker}", str(marker)),
    )
    assert done.returncode == 3, done
    assert "it tried to run" in done.stdout
    assert not marker.exists()
    assert victim.read_text() == "here"


def test_the_confinement_bounds_memory_and_time(tmp_path):
    assert "MemoryError" in confined(tmp_path, "np.ones(1 << 28)").stderr
    (tmp_path / "target").rmdir()
    forever = confined(tmp_path, "while True: pass", "child.limits.CHILD_SECONDS = 1")
    assert forever.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_the_confinement_lets_results_be_written(tmp_path):
    assert confined(tmp_path, f"open({str(tmp_path / 'target' / 'x')!r}, 'w').write('y')").returncode == 0


def test_the_payload_of_the_corpus_would_run(tmp_path):
    """Without this, the tests that use the payload could not fail."""
    marker = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(corpus.calls(marker)["os.system"]))
    assert marker.exists()
