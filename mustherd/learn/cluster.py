"""Where seeds are tried: one after another here, or side by side on the workers of a Dask cluster."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from mustherd.extras import DASK, need

T = TypeVar("T")
R = TypeVar("R")

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""What `map` does, wherever: results in the order of the items, as they come."""

CONNECT_S = 10.0


@contextlib.contextmanager
def workers(address: str | None) -> Iterator[Each]:
    """Those of a scheduler of dask.distributed, as in tcp://HOST:8786; None: this process.

    They need this package, of the same version. MissingExtraError where Dask isn't installed, ValueError where nobody
    answers.
    """
    if address is None:
        yield here
        return
    need(DASK, "dask", "distributed")
    import distributed  # noqa: PLC0415

    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}: {error}; say where one does") from None
    with client:
        yield partial(_there, client)


def here(one: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, on one thread."""
    return map(partial(_on_one_thread, one), items)


def _there(client: Any, one: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    # Each is an experiment of its own: one that looks like another is not the same.
    for future in client.map(partial(_on_one_thread, one), list(items), pure=False):
        yield future.result()


def _on_one_thread(one: Callable[[T], R], item: T) -> R:
    """More threads than one make small matrices slower."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):
        return one(item)
