"""Jobs that are asked to go, and jobs that run twice at once: the same bytes as ever."""

import os
import signal
import subprocess
import time

import psutil
import pytest

pytestmark = pytest.mark.workflow


@pytest.fixture
def block(rerun):
    """A block of DLG that is to be done again: its two files, and the log."""
    (log, *_) = sorted((rerun.folder / "results/logs/invert_pixels").glob("*/*.log"))
    cell, name = log.parent.name, log.stem
    log.unlink()
    files = [f"results/inversions/{cell}/{name}.npz", f"results/inversions/{cell}/{name}.json"]
    for path in files:
        (rerun.folder / path).unlink()
    return files, log


def start(project, *arguments):
    return subprocess.Popen(
        project.command(*arguments),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_sigterm_and_the_next_attempt_ends_in_the_same_bytes(rerun, finished, block):
    files, log = block
    process = start(rerun, "--retries", "1", "--", *files)
    deadline = time.monotonic() + 120
    while not log.exists():
        assert process.poll() is None, "the run ended before it could be asked to stop"
        assert time.monotonic() < deadline, "no attack started"
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    (script,) = [p for p in below if "invert_pixels.py" in " ".join(p.cmdline()) and "python" in p.name()]
    os.kill(script.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    assert "stopped by SIGTERM" in output
    assert "step 61/61" in log.read_text()
    assert "step 50/61" not in log.read_text(), "gone on from the state that was saved, not begun again"
    assert rerun.arrays_unlike(finished.bytes_of(files[0]), files[0]) == []
    assert not list((rerun.folder / "results/checkpoints").glob("*/*"))


def test_two_at_the_same_block_leave_one_whole_block(rerun, finished, block):
    files, _ = block
    # As a restarted scheduler, or a node thought dead: both know nothing of one another.
    writers = [start(rerun, "--no-hooks", "--", *files) for _ in range(2)]
    for writer in writers:
        output, _ = writer.communicate(timeout=300)
        assert writer.returncode == 0, output[-4000:]
    assert rerun.arrays_unlike(finished.bytes_of(files[0]), files[0]) == []
    folder = (rerun.folder / files[0]).parent
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert rerun.planned("--", *files) == {}
