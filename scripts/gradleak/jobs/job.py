"""What every script stands in: a log that holds all output and the traceback, TensorFlow's threads, and SIGTERM."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradleak.errors import UserError

log = logging.getLogger("gradleak")

_asked_to_stop = False

# Keras imports these at its own start where they are installed, for wrappers, plots and tables that no job uses: a third
# of the start-up of every process, by `python -X importtime`. A job that needs one imports it later, as ever.
OPTIONAL = ("matplotlib", "pandas", "scipy", "sklearn")


class Preempted(UserError):
    """The job was asked to go (SIGTERM), and has left its state on disk."""


@contextlib.contextmanager
def job(snakemake: Any, tensorflow: bool = False, resumes: bool = False) -> Iterator[None]:
    """Send all output of a script to its rule's log; on failure end it with the reason, on the console too.

    resumes: the script keeps its state on disk and calls ``stop_if_asked`` there; until then SIGTERM waits.
    """
    if resumes:
        note_sigterm()
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    console = os.fdopen(os.dup(2), "w")
    with path.open("w", buffering=1) as stream:
        # Below Python, since TensorFlow's libraries write to the descriptors themselves.
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            if tensorflow:
                use_threads(snakemake.threads)
            yield
            gc.freeze()  # the process ends: nothing need be searched for garbage once more, which takes TensorFlow a second
        except UserError as error:
            _fail(stream, console, snakemake, str(error))
        except Exception as error:
            traceback.print_exc(file=stream)
            _fail(stream, console, snakemake, f"{type(error).__name__}: {error}")


def _fail(stream: Any, console: Any, snakemake: Any, message: str) -> None:
    wildcards = " ".join(f"{k}={v}" for k, v in snakemake.wildcards.items())
    text = f"ERROR in {snakemake.rule} {wildcards}: {message}"
    print(text, file=stream)
    print(f"{text}\n(details: {snakemake.log[0]})", file=console, flush=True)
    sys.exit(1)


def note_sigterm() -> None:
    """From now on SIGTERM ends the process no more, but the next ``stop_if_asked`` does."""
    global _asked_to_stop
    _asked_to_stop = False
    signal.signal(signal.SIGTERM, _note)


def _note(*_: Any) -> None:
    global _asked_to_stop
    _asked_to_stop = True


def stop_if_asked() -> None:
    """To be called when all that is done is on disk. Raises Preempted if SIGTERM has come."""
    if _asked_to_stop:
        raise Preempted("stopped by SIGTERM; what was done is kept, and the next attempt goes on from there")


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """What is imported inside finds modules ``names`` not installed, unless they are imported already."""
    fresh = [name for name in names if name not in sys.modules]
    sys.modules.update(
        dict.fromkeys(fresh)
    )  # None: the import system's own mark of a module that must not be found
    try:
        yield
    finally:
        for name in fresh:
            del sys.modules[name]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """What is made inside stays for good: the garbage collector looks at it neither now nor later.

    It would go through the objects of a library again and again while that is being imported, and at the process's end.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def use_threads(threads: int) -> None:
    """TensorFlow computes with exactly the rule's threads, deterministically."""
    with hidden(*OPTIONAL), uncollected():
        import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
