"""Waiting for something to come about, for as long as it takes within a bound."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""Far beyond what anything here takes on a machine with other work to do."""


def until(what: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """The first value of `what` that is true; fails when there is none in time."""
    deadline = time.monotonic() + patience_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come about within {patience_s:g} s")
        time.sleep(0.01)
    return found
