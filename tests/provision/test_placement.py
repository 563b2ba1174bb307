"""Who makes the load, read from an inventory by Ansible: in whatever thread, and no node is contacted."""

import signal
import threading
from pathlib import Path

import pytest

from mustherd.load.address import Address
from mustherd.load.placement import Layout, Place
from mustherd.provision.inventory import InventoryError
from mustherd.provision.placement import read

HOSTS = """[musters]
node1 ansible_host=192.0.2.1
[loadgen_leader]
node2 ansible_host=192.0.2.2 ansible_user=me
"""


def test_a_layout_is_read_in_any_thread_and_the_signals_stay(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    found: list[Layout | None] = [read(tmp_path / "hosts")]
    assert {number: signal.getsignal(number) for number in held} == held
    thread = threading.Thread(target=lambda: found.append(read(tmp_path / "hosts")))
    thread.start()
    thread.join()
    expected = Layout(
        leader=Place(address="node2", host="192.0.2.2", user="me"),
        servers={"muster-node1": (Address("node1", 11211),)},
    )
    assert found == [expected, expected]


def test_an_inventory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="hosts: no such inventory"):
        read(tmp_path / "hosts")
