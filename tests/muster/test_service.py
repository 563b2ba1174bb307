"""A muster's configuration of a real machine: what it opens, and how it says what is wrong."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mustherd.muster import service
from mustherd.muster.config import Config, ConfigError, load
from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal
from mustherd.muster.nodes import open_node
from mustherd.node.linux.node import LinuxNode
from mustherd.node.node import Node
from mustherd.terms import NODE
from tests.fakes import FakeNode
from tests.node.linux.kinds import PSTATE
from tests.node.linux.machine import Machine

HEAD = 'muster = "m-1"\nstate = "/nowhere"\n'


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Node]:
    """Opens the node of a configuration that ends in these lines, on recorded files."""
    Machine(PSTATE).unpack(tmp_path / "root")

    def opened(lines: str) -> Node:
        file = tmp_path / "muster.toml"
        file.write_text(f'{HEAD}[linux]\nroot = "{tmp_path / "root"}"\nidle_seconds = 0\n{lines}')
        return open_node(load(file), file)

    return opened


def test_opens_the_machine(opened: Callable[[str], Node]) -> None:
    node = opened('interface = "ens1f0"\nreserved = [0, 1]\n[linux.declared]\nsmt = "on"\nturbo = "off"\n')
    assert isinstance(node, LinuxNode)
    assert node.facts.text["reserved_cpus"] == "0-1"
    assert node.facts.text["not_as_declared"] == "smt is off, declared on; turbo is on, declared off"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('interface = "eth7"', r"linux: \[linux\] interface: no physical interface is 'eth7'; there is ens1f0"),
        ('dvfs = "msr"', r"linux: \[linux\] dvfs = 'msr': dvfs: /dev/cpu/0/msr register 0xce"),
        ('dvfs = "wishful"', r"linux\.dvfs: invalid enum value 'wishful'"),
        ("reserved = [-1]", r"linux\.reserved\[0\]: should be a whole number >= 0, found '-1'"),
        ('colour = "red"', r"linux\.colour: unknown option 'colour'; allowed: root, interface, dvfs"),
    ],
)
def test_says_what_is_wrong(opened: Callable[[str], Node], lines: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(lines)


def test_a_file_without_a_node(tmp_path: Path) -> None:
    file = tmp_path / "muster.toml"
    file.write_text(HEAD)
    with pytest.raises(ConfigError, match=r"a table \[linux\]"):
        open_node(load(file), file)


@pytest.mark.parametrize(("is_behind", "is_back", "dismissed"), [(False, True, 1), (True, True, 0), (False, False, 0)])
def test_one_that_breaks_on_its_way_needs_its_guardian_where_anything_is_left_to_do_or_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_behind: bool, is_back: bool, dismissed: int
) -> None:
    file = tmp_path / "muster.toml"
    file.write_text(f'muster = "m-1"\nstate = "{tmp_path / "state"}"\n[twin]\n')
    done: list[str] = []
    journals: list[Journal] = []

    class FakeGuardian:
        def __init__(self, _knobs: object, journal: Journal, *_: object, **__: object) -> None:
            journals.append(journal)

        def start(self) -> None:
            if not is_back:
                journals[0].record({("node-0", "dvfs"): 2600})
            journals[0].behind = is_behind

        def gone(self) -> bool:
            return False

        def dismiss(self) -> None:
            done.append("dismissed")

    def breaks(*_: object) -> None:
        raise RuntimeError("on its way")

    monkeypatch.setattr(service, "Guardian", FakeGuardian)
    monkeypatch.setattr(service, "Pasture", breaks)
    with pytest.raises(RuntimeError, match="on its way"):
        service.serve(file, lambda _: None)
    journals[0].close()
    assert len(done) == dismissed


def test_its_guardian_writes_nothing_once_another_process_may_have_the_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while its node was slow to close, it had a guardian that wrote what a next owner had begun over."""
    file = tmp_path / "muster.toml"
    file.write_text(f'muster = "m-1"\nstate = "{tmp_path / "state"}"\n[twin]\n')
    done: list[str] = []

    def opened(config: Config, path: Path) -> Node:
        node = open_node(config, path)
        close = node.close

        def closing() -> None:
            done.append("closed")
            close()

        monkeypatch.setattr(node, "close", closing)
        return node

    class FakeGuardian:
        def __init__(self, _knobs: object, journal: Journal, *_: object, **__: object) -> None:
            self.journal = journal

        def let_go(self) -> None:
            done.append(f"let go, {'un' * self.journal.closed}locked")

        def dismiss(self) -> None:
            done.append("dismissed")

        def __getattr__(self, _name: str) -> Callable[..., int]:
            return lambda *_: 0

    monkeypatch.setattr(service, "open_node", opened)
    monkeypatch.setattr(service, "Guardian", FakeGuardian)
    assert service.serve(file, lambda stop: stop()) == 0
    assert done == ["let go, locked", "closed", "dismissed"]


def test_what_a_muster_that_was_killed_meanwhile_holds_is_closed_and_no_knob_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, closed, journal = FakeNode(), [], Journal(tmp_path)
    guardian = Guardian(node.knobs, journal, 3.0, close=lambda: closed.append(True))
    guardian._shared.keep({(NODE, "dvfs"): 2600})
    node.dvfs.value = 1300  # the next owner's
    guardian.let_go()
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(guardian, "_muster", os.getppid())
    ended, muster = os.pipe()
    os.close(muster)
    guardian._guard(ended)
    os.close(ended)
    journal.close()
    assert (closed, node.dvfs.value) == ([True], 1300)
