"""What every test runs under. Read by the linear algebra when it is loaded: before anything that imports it."""

import os

# Threads of OpenMP and OpenBLAS wait for one another in busy loops, which on a shared machine takes several times longer than
# the work: matrices are small here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
