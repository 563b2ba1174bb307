"""Which port of a card is the experiment's: named, or the only one that it can be, and never the control network's."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.roles.scripts import load

tool: ModuleType = load("common/files/mustherd_node")

CONTROL, HERD = "a0:36:9f:00:00:01", "a0:36:9f:00:00:02"
"""MACs of the two ports of one 82599, as on a c8220."""
HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


class Machine:
    """A tree of files as a kernel shows it, and iproute2's tool over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held: dict[str, str] = {}
        self.cabled: set[str] = set()
        self.done: list[str] = []
        (root / "proc/net").mkdir(parents=True)
        self.driver = root / "sys/bus/pci/drivers/ixgbe"
        self.driver.mkdir(parents=True)
        for core in range(2):
            folder = root / f"proc/ixgbe_stats/core/{core}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.write_text("0 1 2\n")
        self.put("sys/devices/system/cpu/online", "0-1")

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def port(self, name: str, mac: str, function: int, *, up: bool, cable: bool) -> None:
        device = self.root / f"sys/devices/pci0000:00/0000:82:00.{function}"
        device.mkdir(parents=True, exist_ok=True)
        if not (device / "driver").is_symlink():
            (device / "driver").symlink_to(self.driver)
        net = self.root / "sys/class/net" / name
        net.mkdir(parents=True)
        (net / "device").symlink_to(device)
        self.put(f"sys/class/net/{name}/address", mac)
        if cable:
            self.cabled.add(name)
        self.link(name, up=up)

    def link(self, name: str, *, up: bool) -> None:
        self.put(f"sys/class/net/{name}/flags", "0x1003" if up else "0x1002")
        carrier = self.root / f"sys/class/net/{name}/carrier"
        # A kernel does not tell the carrier of a link that is down.
        carrier.unlink(missing_ok=True)
        if up:
            self.put(f"sys/class/net/{name}/carrier", "1" if name in self.cabled else "0")

    def route_by(self, name: str) -> None:
        self.put("proc/net/route", f"{HEAD}{name}\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0")

    def ip(self, *words: str) -> str:
        if words[:3] == ("link", "set", "dev"):
            self.link(words[3], up=words[4] == "up")
        elif words[:2] == ("address", "add"):
            self.held[words[2].partition("/")[0]] = words[4]
        else:
            raise AssertionError(words)
        self.done.append(" ".join(words))
        return ""

    def call(self, *words: str) -> int:
        return int(
            tool.main([*words, "--wait", "0", "--root", str(self.root), "--found", str(self.root / "found.json")])
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A c8220 after the boot of another kernel: both ports on one card, only the control network's up."""
    found = Machine(tmp_path)
    found.port("enp130s0f0", CONTROL, 0, up=True, cable=True)
    found.port("enp130s0f1", HERD, 1, up=False, cable=True)
    found.route_by("enp130s0f0")
    found.held["130.127.1.7"] = "enp130s0f0"
    monkeypatch.setattr(tool, "ip", found.ip)
    monkeypatch.setattr(tool, "addresses", lambda _node: dict(found.held))
    return found


UP = ("up", "--address", "10.10.1.2/24")


def test_the_control_networks_port_is_not_taken_though_it_alone_has_a_carrier(machine: Machine) -> None:
    assert machine.call(*UP) == 0
    assert machine.held == {"130.127.1.7": "enp130s0f0", "10.10.1.2": "enp130s0f1"}
    assert not [line for line in machine.done if "enp130s0f0" in line]
    machine.done.clear()
    assert machine.call(*UP) == 0
    assert machine.done == []


def test_a_recorded_mac_finds_the_port_whatever_it_is_called(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.call("port", "--address", "10.10.1.2/24") == 0
    recorded = json.loads(capsys.readouterr().out)
    assert recorded == {"interface": "enp130s0f1", "mac": HERD, "pci": "0000:82:00.1"}
    assert machine.done == [], "the only one that it can be needs no look at carriers"
    # The new kernel swaps the names, and DHCP has not come yet: no route tells which is which.
    (machine.root / "proc/net/route").unlink()
    machine.held.clear()
    for name in ("enp130s0f0", "enp130s0f1"):
        (machine.root / "sys/class/net" / name).rename(machine.root / "sys/class/net" / f"old-{name}")
    net = machine.root / "sys/class/net"
    (net / "old-enp130s0f0").rename(net / "eth1")
    (net / "old-enp130s0f1").rename(net / "eth0")
    machine.cabled = {"eth0", "eth1"}
    for known in (("--mac", HERD), ("--mac", HERD.upper()), ("--pci", "0000:82:00.1")):
        machine.held.clear()
        assert machine.call(*UP, *known) == 0
        assert machine.held == {"10.10.1.2": "eth0"}


def test_a_mac_that_no_port_has_is_refused_and_the_ports_are_listed(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.call(*UP, "--mac", "a0:36:9f:00:00:09") == 1
    error = capsys.readouterr().err
    assert f"enp130s0f0 {CONTROL}, enp130s0f1 {HERD}" in error
    assert "Fix: correct herd_mac" in error
    assert machine.done == []


@pytest.mark.parametrize("named", [("--mac", CONTROL), ("--interface", "enp130s0f0"), ("--pci", "0000:82:00.0")])
@pytest.mark.parametrize("verb", ["up", "plan-up", "port", "nic"])
def test_the_control_networks_port_is_refused_though_it_is_named(
    machine: Machine, named: tuple[str, str], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.call(verb, "--address", "10.10.1.2/24", *named) == 1
    assert "enp130s0f0 is the port of the default route, which is never touched" in capsys.readouterr().err
    assert machine.done == []


def test_interrupts_of_the_control_networks_port_stay(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.call("apply", "affinity=all", "--interface", "enp130s0f0", "--address", "10.10.1.2/24") == 1
    assert "never touched" in capsys.readouterr().err


def test_a_network_that_the_user_shares_with_the_default_route_is_the_herds_too(machine: Machine) -> None:
    """Where the herd's address is there already, it was not us who put it there."""
    machine.held["10.10.1.2"] = "enp130s0f0"
    assert machine.call(*UP) == 0
    assert machine.done == []
    assert machine.call(*UP, "--interface", "enp130s0f0") == 0


def three(machine: Machine, *, cables: tuple[bool, bool]) -> None:
    """Two more ports beside the control network's, both down."""
    machine.port("enp131s0f0", "a0:36:9f:00:01:01", 2, up=False, cable=cables[0])
    machine.port("enp131s0f1", "a0:36:9f:00:01:02", 3, up=False, cable=cables[1])
    machine.port("enp132s0f0", "a0:36:9f:00:01:03", 4, up=True, cable=True)
    # In use for something else.
    machine.held["10.254.254.2"] = "enp132s0f0"
    machine.cabled.discard("enp130s0f1")


def test_links_are_brought_up_before_they_are_asked_for_a_carrier(machine: Machine) -> None:
    three(machine, cables=(True, False))
    assert machine.call("port", "--address", "10.10.1.2/24") == 0
    ups = [line for line in machine.done if line.endswith(" up")]
    downs = [line for line in machine.done if line.endswith(" down")]
    assert len(ups) == len(downs) == 3, "after a look every link is as it was"
    assert not [line for line in machine.done if "enp130s0f0" in line or "enp132s0f0" in line]
    assert machine.call(*UP) == 0
    assert machine.held["10.10.1.2"] == "enp131s0f0"
    assert (machine.root / "sys/class/net/enp131s0f1/flags").read_text().strip() == "0x1002"


@pytest.mark.parametrize("cables", [(True, True), (False, False)])
def test_what_carriers_do_not_tell_is_refused(
    machine: Machine, cables: tuple[bool, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    three(machine, cables=cables)
    assert machine.call(*UP) == 1
    error = capsys.readouterr().err
    assert ("enp131s0f0, enp131s0f1 have a carrier" if all(cables) else "none has a carrier") in error
    assert "enp131s0f1 a0:36:9f:00:01:02" in error
    assert "herd_mac" in error
    assert not {line for line in machine.done if "address add" in line}
    assert len([line for line in machine.done if line.endswith(" up")]) == len(machine.done) / 2


def test_a_plan_brings_no_link_up(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    three(machine, cables=(True, False))
    assert machine.call("plan-up", "--address", "10.10.1.2/24") == 0
    assert "enp131s0f0 up, to see whether it has a carrier" in capsys.readouterr().out
    assert machine.call("plan-port", "--address", "10.10.1.2/24") == 0
    assert json.loads(capsys.readouterr().out) == {"candidates": ["enp130s0f1", "enp131s0f0", "enp131s0f1"]}
    assert machine.call("plan", "affinity=all", "--address", "10.10.1.2/24") == 0
    assert machine.done == []


def test_a_card_that_has_only_the_control_networks_port_is_refused(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    del machine.held["130.127.1.7"]
    machine.held["fd00::7"] = "enp130s0f1"
    assert machine.call(*UP, "--login", "fd00::7") == 1
    error = capsys.readouterr().err
    assert "enp130s0f0 (the default route), enp130s0f1 (the login to fd00::7)" in error


def test_a_port_may_have_other_networks_too(machine: Machine) -> None:
    """Several LANs on one card, as VLANs."""
    machine.held["10.254.254.2"] = "enp130s0f1"
    assert machine.call(*UP) == 0
    assert machine.held["10.10.1.2"] == "enp130s0f1"


def test_the_port_of_the_login_is_the_control_networks_too(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the default route goes by another card, or there is none."""
    (machine.root / "proc/net/route").unlink()
    del machine.held["130.127.1.7"]
    machine.held["fd00::7"] = "enp130s0f0"
    assert machine.call(*UP, "--login", "fd00::7") == 0
    assert machine.held["10.10.1.2"] == "enp130s0f1"
    assert machine.call(*UP, "--interface", "enp130s0f0", "--login", "fd00::7") == 1
    assert "the port of the login to fd00::7" in capsys.readouterr().err


def test_a_default_route_through_a_bridge_or_a_vlan_is_the_ports_below(machine: Machine) -> None:
    net = machine.root / "sys/class/net"
    for name, below in (("br0", "vlan5"), ("vlan5", "enp130s0f0")):
        (net / name).mkdir()
        (net / name / f"lower_{below}").symlink_to(net / below)
    machine.route_by("br0")
    machine.held = {"130.127.1.7": "br0"}
    assert machine.call(*UP) == 0
    assert machine.held["10.10.1.2"] == "enp130s0f1"


def test_an_ipv6_default_route_counts_and_the_kernels_reject_does_not(machine: Machine) -> None:
    zero = "0" * 32
    (machine.root / "proc/net/route").write_text(HEAD)
    routes = [
        f"{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 enp130s0f0",
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 enp130s0f1",
    ]
    machine.put("proc/net/ipv6_route", "\n".join(routes))
    del machine.held["130.127.1.7"]
    assert tool.default_routes(tool.Node(machine.root)) == ["enp130s0f0"]
    assert machine.call(*UP) == 0
    assert machine.held == {"10.10.1.2": "enp130s0f1"}


def test_a_bonds_port_is_known_by_its_own_mac(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    net = "sys/class/net"
    for name, own in (("enp130s0f0", CONTROL), ("enp130s0f1", HERD)):
        machine.put(f"{net}/{name}/address", "02:00:00:00:00:99")
        machine.put(f"{net}/{name}/bonding_slave/perm_hwaddr", own)
    assert machine.call("nic", "--mac", HERD) == 0
    assert capsys.readouterr().out.strip() == "enp130s0f1"


def test_statistics_are_checked_on_a_card_with_two_ports(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.call("stats", "--driver", "ixgbe") == 0
    assert machine.call("stats", "--driver", "ixgbe", "--mac", HERD, "--address", "10.10.1.2/24") == 0
    assert machine.call("stats", "--driver", "ixgbe", "--mac", "a0:36:9f:00:00:09") == 1
    assert machine.call("stats", "--driver", "igb") == 1
    assert "no card is bound to igb" in capsys.readouterr().err


@pytest.mark.process
def test_a_login_is_found_though_sudo_hides_it() -> None:
    """A shell of sshd's has the variable, and what it starts with a clean environment asks it."""
    asks = "import runpy, sys; print(runpy.run_path(sys.argv[1])['login_address']())"
    file = Path(str(tool.__file__))
    shell = f'env -i "{sys.executable}" -c "{asks}" "{file}"; true'
    done = subprocess.run(
        ["sh", "-c", shell],
        env={"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.9 22", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "192.0.2.9", done.stderr
