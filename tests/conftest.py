"""What every test gets."""

import os
import shutil
import socket
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import budgets, one_thread, running
from tests.marks import pytest_collection_modifyitems, pytest_runtest_call, pytest_runtest_setup  # noqa: F401 - hooks

one_thread.ask()

# How long an example takes is the machine's business; CI looks at the same examples each time, people at new ones.
settings.register_profile(
    "mustherd", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("mustherd")


def pytest_configure(config: pytest.Config) -> None:
    """Without the entry points of this checkout nothing of ours that has a name would be found."""
    budgets.watch(config)
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


def _ports() -> Iterator[int]:
    """Below those that the kernel gives away by itself, and not another worker's: free ones stay free."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in cycle(range(20_000 + 500 * (worker % 20), 20_500 + 500 * (worker % 20))):
        with socket.socket() as probe:
            free = probe.connect_ex(("127.0.0.1", port)) != 0
        if free:
            yield port


PORTS = _ports()


@pytest.fixture
def free_ports() -> tuple[int, int, int, int]:
    """Four ports that nothing listens on."""
    return next(PORTS), next(PORTS), next(PORTS), next(PORTS)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may look into, as /var/lib is."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
