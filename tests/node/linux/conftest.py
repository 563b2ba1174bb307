import pytest

from tests.node.linux.machine import Machine


@pytest.fixture
def make() -> type[Machine]:
    """Makes machines."""
    return Machine
