"""What takes long to make and is only read, made once for all workers of a run of the tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def once(factory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make(folder)`` has filled, in the first worker that asks. The others wait for it.

    factory: pytest's ``tmp_path_factory``. ``make`` is given a path at which nothing lies yet.
    """
    own = factory.getbasetemp()
    place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / f"once-{name}"
    place.mkdir(exist_ok=True)
    made, done = place / "made", place / "done"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(made, ignore_errors=True)  # of a worker that failed at it
            make(made)
            done.touch()
    return made
