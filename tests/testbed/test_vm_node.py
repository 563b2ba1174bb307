"""The Linux node on a real kernel, in a small virtual machine: `make test-vm`."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.testbed.vm import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    with Vm(tmp_path_factory.mktemp("vm")) as vm:
        yield vm


def test_keeps_its_contracts_and_survives_being_killed(vm: Vm, record_property: Callable[[str, object], None]) -> None:
    """All of inside.py, in one go: an interpreter takes seconds to start in there."""
    command = "cd /src && python3 -m pytest -q -c /dev/null --rootdir /src -p no:cacheprovider tests/testbed/inside.py"
    code, said = vm.run(command, seconds=600)
    assert code == 0, said
    passed = re.search(r"(\d+) passed", said)
    assert passed
    assert int(passed[1]) >= 50, said
    assert "skipped" not in said
    record_property("boot_seconds", round(vm.boot_seconds, 1))
    record_property("boots", vm.boots)
