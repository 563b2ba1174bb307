"""What every test gets."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests import running

# How long an example takes is the machine's business; CI looks at the same examples each time, people at new ones.
settings.register_profile(
    "mustherd", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("mustherd")


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    yield
    running.end_all()


@pytest.fixture
def free_ports() -> tuple[int, int, int, int]:
    """Four ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        pulse, log, control, coordinate = (each.getsockname()[1] for each in sockets)
    return pulse, log, control, coordinate
