"""Knobs of the network stack for real: on a pair of virtual cards in a network namespace of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

SCRIPT = """\
import contextlib, json, socket, sys
from mustherd.node.knob import check
from mustherd.node.linux.ethtool import KernelEthtool
from mustherd.node.linux.interfaces import Interface
from mustherd.node.linux.knob import Machine
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.node import OURS
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree

tree = Tree()
card = Interface(name=sys.argv[1], driver="veth", addresses=(), mac="", numa_node="")
machine = Machine(tree, KernelEthtool(), Msr(tree), card, LinuxOptions())
wanted = json.loads(sys.argv[2])
told = {"missing": {}, "knobs": {}}
with contextlib.suppress(EthtoolError):
    # One queue has settings of its own, where the kernel knows that.
    napi = machine.ethtool.napis(socket.if_nametoindex(card.name))[0]
    if napi.defer is not None:
        machine.ethtool.set_napi(napi.id, "gro_flush_ns", 1234)
        machine.ethtool.set_napi(napi.id, "defer", 7)
        told["own"] = f"napi{napi.id}"
for kind in OURS:
    name = kind.kind.name
    if name not in wanted:
        continue
    asked = wanted[name]
    try:
        [knob] = kind.find(machine)
    except Exception as error:
        told["missing"][name] = str(error)
        continue
    before = knob.places()
    knob.write(asked)
    held = check(knob, asked)
    there = knob.places()
    knob.put_back(before)
    told["knobs"][name] = {
        "before": before, "held": held.held, "running": held.running, "there": there, "after": knob.places(),
    }
print(json.dumps(told))
"""
NAME = "mustherd-test"


@pytest.fixture
def card() -> Iterator[str]:
    """The name of a card that is up, in the namespace."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", NAME)
    try:
        ip(
            "-n",
            NAME,
            "link",
            "add",
            "veth-a",
            "numrxqueues",
            "2",
            "numtxqueues",
            "2",
            "type",
            "veth",
            "peer",
            "name",
            "veth-b",
        )
        # With GRO a virtual card polls its queues as a real one does.
        subprocess.run(["ip", "netns", "exec", NAME, sys.executable, "-c", GRO_ON, "veth-a"], check=True)
        for each in ("veth-a", "veth-b"):
            ip("-n", NAME, "link", "set", each, "up")
        yield "veth-a"
    finally:
        ip("netns", "delete", NAME)


GRO_ON = """\
import sys
from mustherd.node.linux.ethtool import KernelEthtool
KernelEthtool().set_feature(sys.argv[1], 'gro', True)
"""


def test_what_the_kernel_puts_off_is_set_read_back_and_put_back(card: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    asked = {"gro-flush-timeout": 50, "napi-defer": 20, "irq-suspend": 2000, "rps": 1}
    done = subprocess.run(
        ["ip", "netns", "exec", NAME, sys.executable, str(script), card, json.dumps(asked)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    knobs = told["knobs"]
    assert knobs["gro-flush-timeout"]["there"][card] == "50000"
    assert set(knobs["gro-flush-timeout"]["there"].values()) == {"50000"}
    assert set(knobs["napi-defer"]["there"].values()) == {"20"}
    if "own" in told:
        assert knobs["gro-flush-timeout"]["before"][told["own"]] == "1234"
        assert knobs["napi-defer"]["before"][told["own"]] == "7"
        assert len(knobs["napi-defer"]["there"]) == 3
    if "irq-suspend" in told["missing"]:
        why = told["missing"]["irq-suspend"]
        assert any(word in why for word in ("6.13", "no NAPI", "netdev netlink")), why
    else:
        assert set(knobs["irq-suspend"]["there"].values()) == {"2000000"}
    assert len(knobs) >= 3
    for name, seen in knobs.items():
        assert seen["held"], name
        assert seen["after"] == seen["before"], name


def test_this_machine_s_own_card_is_read_and_nothing_is_changed() -> None:
    from mustherd.node.linux.node import LinuxNode
    from mustherd.node.linux.options import LinuxOptions

    node = LinuxNode(LinuxOptions(idle_seconds=0))
    before = {k.info.name: k.places() for k in node.knobs if hasattr(k, "places")}
    for knob in node.knobs:
        assert knob.info.allowed_text()
        knob.read()
    assert {k.info.name: k.places() for k in node.knobs if hasattr(k, "places")} == before
    lacking = {name: why for name, why in node.facts.text.items() if name.startswith("no_")}
    assert all(why.strip() for why in lacking.values())
