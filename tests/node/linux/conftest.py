import pytest

from tests.node.linux.machine import Machine


@pytest.fixture
def make():
    """Makes machines."""
    return Machine
