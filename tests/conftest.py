"""The environment of every test. Libraries of linear algebra read it when they are loaded."""

import os
from pathlib import Path

UNIT = Path(__file__).parent / "unit"

# Threads of OpenMP and OpenBLAS wait for one another in busy loops. Matrices are small here, and on a busy
# machine the waiting takes several times longer than the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Unit tests last: at the end each worker has short tests left, which it can share."""
    items.sort(key=lambda item: item.path.is_relative_to(UNIT))
