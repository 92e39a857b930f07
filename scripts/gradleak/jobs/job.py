"""The frame of every script: a log with all output and the traceback, TensorFlow's threads, and SIGTERM."""

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

# Keras imports these at its own start where they are installed, for wrappers, plots and tables that no job
# uses: a third of the start-up of every process, by `python -X importtime`. A job that needs one imports it
# later, as ever.
OPTIONAL = ("matplotlib", "pandas", "scipy", "sklearn")


class Preempted(UserError):
    """The job got SIGTERM and stopped after it had saved its state."""


@contextlib.contextmanager
def job(snakemake: Any, tensorflow: bool = False, resumes: bool = False) -> Iterator[None]:
    """Send all output of a script to its rule's log. On failure end the process with the reason.

    tensorflow: use TensorFlow, with the rule's threads. resumes: the script saves its state and then calls
    ``stop_if_asked``; SIGTERM waits until it does.
    """
    if resumes:
        note_sigterm()
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    console = os.fdopen(os.dup(2), "w", encoding="utf-8")
    with path.open("w", encoding="utf-8", buffering=1) as stream:
        # By descriptor, since TensorFlow's libraries write to the descriptors themselves.
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
            gc.freeze()  # the process ends: a last search for garbage would take TensorFlow a second
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
    """From now on SIGTERM does not end the process; the next ``stop_if_asked`` does."""
    global _asked_to_stop
    _asked_to_stop = False
    signal.signal(signal.SIGTERM, _note)


def _note(*_: Any) -> None:
    global _asked_to_stop
    _asked_to_stop = True


def stop_if_asked() -> None:
    """Raises Preempted if SIGTERM has come. Call it when all finished work is on disk."""
    if _asked_to_stop:
        raise Preempted("stopped by SIGTERM; its state is saved, and the next attempt continues from there")


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Imports inside find the modules ``names`` missing, unless they are imported already."""
    fresh = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(fresh))  # type: ignore[arg-type]  # None: a module that must not be found
    try:
        yield
    finally:
        for name in fresh:
            del sys.modules[name]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """The garbage collector never looks at objects made inside.

    It would go through the objects of a library many times during its import, and again at the end.
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
