"""A real memcached on loopback for a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mustherd.load.generator.options import Piece, SendPlan
from mustherd.load.memcached.server import Memcached, MemcachedOptions


@contextmanager
def served(**options: Any) -> Iterator[Memcached]:
    """A memcached on a port of its own, ended with the block. Fails where memcached isn't installed."""
    memcached = Memcached(MemcachedOptions(**{"port": 0, "threads": 2, **options}))
    try:
        memcached.start()
        yield memcached
    finally:
        memcached.close()


def plan(**changes: Any) -> SendPlan:
    """A worker's plan; nothing in it is sent anywhere."""
    values: dict[str, Any] = {
        "servers": (),
        "worker": 0,
        "workers": 1,
        "seed": 1,
        "curve": (Piece(1.0, 1000.0, 1000.0),),
        "update_ratio": 0.25,
        "connections": 4,
        "depth": 4,
        "protocol": "binary",
        "records": 1000,
        "key_size": "30",
        "value_size": "200",
        "arrivals": "exponential",
        "preload": True,
        "count_from": "due",
        "blocking": False,
        "early_us": 80,
        "core": None,
    }
    return SendPlan(**{**values, **changes})
