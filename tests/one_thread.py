"""One thread of BLAS a process, as a search's own process has it (learn/worker).

Threads that wait for a core which another worker of pytest holds take fifteen times as long as one thread.
"""

import os

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ask() -> None:
    """For this process, when it has not yet loaded NumPy, and for what it starts."""
    os.environ.update(dict.fromkeys(NAMES, "1"))
