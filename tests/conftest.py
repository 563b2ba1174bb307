"""What every test gets."""

import os
import socket
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import running

# How long an example takes is the machine's business; CI looks at the same examples each time, people at new ones.
settings.register_profile(
    "mustherd", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("mustherd")


def pytest_configure() -> None:
    """Without the entry points of this checkout nothing of ours that has a name would be found."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {(group, *entry) for group, entries in project["entry-points"].items() for entry in entries.items()}
    there = {(entry.group, entry.name, entry.value) for entry in distribution("mustherd").entry_points}
    if absent := wanted - there:
        names = ", ".join(sorted(f"{group} {name}" for group, name, _ in absent))
        raise pytest.UsageError(f"mustherd was installed before pyproject.toml named {names}: run `make setup`")


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
