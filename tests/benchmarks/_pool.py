"""Processes that a benchmark's seeds are spread over."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from threadpoolctl import threadpool_limits

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _begin() -> None:
    threadpool_limits(1)


class Pool:
    """One process for each core, one BLAS thread each."""

    def __init__(self) -> None:
        # Inherited by the processes, which must not have imported BLAS before.
        os.environ.update(dict.fromkeys(THREADS, "1"))
        self._executor = ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _begin)

    def spread(self, work: Callable[..., list[Any]], jobs: Iterable[tuple[Any, ...]], seeds: int) -> list[list[Any]]:
        """`work(*job, seeds)` for every job, its seeds split between the processes; results in order."""
        parts = max(1, min(os.cpu_count() or 1, seeds))
        waiting = [
            [self._executor.submit(work, *job, range(seeds)[part::parts]) for part in range(parts)] for job in jobs
        ]
        return [[one for future in futures for one in future.result()] for futures in waiting]

    def each(self, work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
        """`work(*job)` for every job, results in order."""
        waiting = [self._executor.submit(work, *job) for job in jobs]
        return [future.result() for future in waiting]

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)
