"""Which node a configuration means: ours, and those that other packages add in one file, as the documents show."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd.muster import __main__ as program
from mustherd.muster.config import ConfigError, load
from mustherd.muster.nodes import BUILT_IN, open_node
from mustherd.node.knob import Knob
from mustherd.node.node import Node, NodeKind
from mustherd.node.twin.node import TwinNode
from mustherd.plugins import KNOBS, NODES, PluginError, forget, lacking, plugins
from mustherd.terms import NODE, Setting
from mustherd.testing.knob import KnobContract
from mustherd.testing.node import NodeContract
from mustherd.wire.keys import create, for_shepherd
from tests.docs.pages import ROOT, read
from tests.herding import shepherd
from tests.node.linux.kinds import LAB
from tests.node.linux.machine import Machine
from tests.plugged import site
from tests.waiting import until

Write = Callable[[str], Path]
Opened = Callable[[str], Node]

HEAD = 'muster = "muster-1"\nstate = "{state}"\n'


def example(page: str, file: str) -> str:
    """A program that a document shows."""
    return next(step.text for step in read(ROOT / "docs" / "extend" / page).steps if step.kind == file)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both documents' packages, installed; gives where."""
    folder = tmp_path / "site"
    knobs = {KNOBS: {"napi-budget": "NapiBudget"}}
    site(folder, "napi-budget", example("knob.md", "napi_budget.py"), knobs)
    fan = {NODES: {"fan": "FanNode"}, KNOBS: {"fan-speed": "FanSpeed"}}
    site(folder, "fan-node", example("node.md", "fan_node.py"), fan)
    monkeypatch.syspath_prepend(str(folder))
    forget()
    yield folder
    forget()
    for name in ("napi_budget", "fan_node", "broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a muster's configuration that ends in these lines."""

    def written(lines: str) -> Path:
        file = tmp_path / "muster.toml"
        file.write_text(HEAD.format(state=tmp_path / "state") + lines)
        file.chmod(0o600)
        return file

    return written


@pytest.fixture
def fan(tmp_path: Path, packages: Path, written: Write) -> Path:
    """The configuration of a fan's muster."""
    (tmp_path / "fan1_target").write_text("1200\n")
    return written(f'[fan]\nfile = "{tmp_path / "fan1_target"}"\nmost_rpm = 3000\n')


def test_our_kinds_are_registered_as_any_others() -> None:
    assert {name: each.target for name, each in plugins(NODES).items() if each.is_ours} == BUILT_IN
    for name in BUILT_IN:
        assert lacking(plugins(NODES)[name].load(), NodeKind) == []


@pytest.mark.process
def test_opens_a_twin_without_reading_what_is_installed(written: Write) -> None:
    file = written("[twin]\nspeed = 100\n")
    code = (
        "import sys; from pathlib import Path; from mustherd.muster.config import load;"
        "from mustherd.muster.nodes import open_node; file = Path(sys.argv[1]);"
        "print(open_node(load(file), file).facts.kind, 'importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["twin", "False"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[twin]\nsped = 10\n", "twin.sped: unknown option 'sped'; allowed: profile, speed"),
        ("[twin.faults]\nlost_rows = 'x'\n", "twin.faults.lost_rows: should be a whole number, found 'x'"),
        ("[twin]\nspeed = 0\n", "twin.speed: should be a number >= 0.001, found '0'"),
        (
            "[twin]\nprofile = 'c8220'\n",
            "twin: profile: unknown profile 'c8220'; allowed: c6220, playground, or a file",
        ),
        ("[twin]\n[linux]\n", "top level: [twin] and [linux] are more than one node: one table is needed"),
        ("[twinn]\n", "twinn: neither a table of a muster nor a kind of node; installed are linux, process, twin"),
        ("[rangs]\n[twin]\n", "rangs: neither a table of a muster nor a kind of node"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(written: Write, lines: str, said: str) -> None:
    file = written(lines)
    with pytest.raises(ConfigError) as caught:
        open_node(load(file), file)
    assert str(caught.value).startswith(f"{file}: {said}")
    if lines.startswith(("[twinn]", "[rangs]")):
        assert str(caught.value).endswith(f"did you mean '{'twin' if lines.startswith('[twinn]') else 'ranges'}'?")


class TestFan(NodeContract):
    @pytest.fixture
    def node(self, fan: Path) -> Node:
        return open_node(load(fan), fan)

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        return lambda _seconds: None


class TestFanSpeed(KnobContract):
    @pytest.fixture
    def knob(self, fan: Path) -> Knob:
        return open_node(load(fan), fan).knobs[0]

    @pytest.fixture
    def same_knob(self, fan: Path, knob: Knob) -> Knob:
        return open_node(load(fan), fan).knobs[0]

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, tmp_path: Path) -> Callable[[int], object]:
        return lambda value: (tmp_path / "fan1_target").write_text(f"{value}\n")


class TestNapiBudget(KnobContract):
    @pytest.fixture
    def root(self, tmp_path: Path, packages: Path) -> Path:
        Machine(LAB).unpack(tmp_path / "root")
        file = tmp_path / "root/proc/sys/net/core/netdev_budget"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("300\n")
        return tmp_path / "root"

    @pytest.fixture
    def opened(self, root: Path, written: Write) -> Opened:
        def opened(lines: str) -> Node:
            file = written(f'[linux]\nroot = "{root}"\nidle_seconds = 0\n{lines}')
            return open_node(load(file), file)

        return opened

    @pytest.fixture
    def knob(self, opened: Opened) -> Knob:
        return next(k for k in opened('knobs = ["napi-budget"]\n').knobs if k.info.name == "napi-budget")

    @pytest.fixture
    def same_knob(self, opened: Opened, knob: Knob) -> Knob:
        return next(k for k in opened('knobs = ["napi-budget"]\n').knobs if k.info.name == "napi-budget")

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, root: Path) -> Callable[[int], object]:
        return lambda value: (root / "proc/sys/net/core/netdev_budget").write_text(f"{value}\n")

    def test_it_is_beside_ours(self, opened: Opened) -> None:
        names = [knob.info.name for knob in opened('knobs = ["napi-budget", "dvfs"]\n').knobs]
        assert names == [*(knob.info.name for knob in opened("").knobs), "napi-budget"]

    def test_what_the_configuration_does_not_name_is_not_loaded(self, opened: Opened) -> None:
        assert "napi-budget" not in {knob.info.name for knob in opened("").knobs}
        assert "napi_budget" not in sys.modules

    def test_where_the_machine_lacks_it_the_facts_say_why(self, opened: Opened, root: Path) -> None:
        (root / "proc/sys/net/core/netdev_budget").unlink()
        node = opened('knobs = ["napi-budget"]\n')
        assert (
            node.facts.text["no_napi-budget"] == "/proc/sys/net/core/netdev_budget: absent (No such file or directory)"
        )

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("napi-budgt", "no knob 'napi-budgt' is installed"),
            ("server-cores", "server-cores is no knob of a Linux machine"),
            ("fan-speed", "fan-speed is no knob of a Linux machine"),
        ],
    )
    def test_a_name_that_stands_for_no_such_knob_is_refused(self, opened: Opened, name: str, said: str) -> None:
        with pytest.raises(ConfigError, match=rf"muster\.toml: linux: \[linux\] knobs: {said}"):
            opened(f'knobs = ["{name}"]\n')

    @pytest.mark.parametrize(
        ("find", "said"),
        [("raise RuntimeError('a bug')", "RuntimeError: a bug"), ("return (Other(machine),)", "calls itself 'dvfs'")],
    )
    def test_another_package_s_fault_costs_its_own_knob(
        self, opened: Opened, packages: Path, find: str, said: str
    ) -> None:
        code = f"""\
            from mustherd.node.linux.dvfs import MsrDvfs
            from mustherd.node.linux.limit import RaplLimit
            from mustherd.terms import KnobKind

            class Other(RaplLimit):
                kind = KnobKind(name="dvfs", unit="MHz")
                def __init__(self, machine):
                    super().__init__(machine.tree, machine.registers)

            class Broken(RaplLimit):
                kind = KnobKind(name="broken", unit="W")
                @classmethod
                def find(cls, machine):
                    {find}
            """
        site(packages, "broken", code, {KNOBS: {"broken": "Broken"}})
        forget()
        node = opened('knobs = ["broken"]\n')
        assert said in node.facts.text["no_broken"]
        assert [k.info.name for k in node.knobs] == [k.info.name for k in opened("").knobs]


def test_a_file_that_others_may_write_loads_no_package(fan: Path) -> None:
    fan.chmod(0o666)
    with pytest.raises(ConfigError, match="with mode 666"):
        open_node(load(fan), fan)
    assert "fan_node" not in sys.modules


def test_neither_does_a_linux_node_s(written: Write, packages: Path) -> None:
    file = written('[linux]\nknobs = ["napi-budget"]\n')
    file.chmod(0o606)
    with pytest.raises(ConfigError, match="with mode 606"):
        open_node(load(file), file)
    assert "napi_budget" not in sys.modules


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("most_rpm = 50", "fan.most_rpm: should be a whole number >= 100, found '50'"),
        (
            "most_rmp = 200",
            "fan.most_rmp: unknown option 'most_rmp'; allowed: file, most_rpm; did you mean 'most_rpm'?",
        ),
        ('file = "/nowhere/at/all"', "fan: file: there is no /nowhere/at/all"),
    ],
)
def test_a_package_s_table_is_checked_with_file_and_key(packages: Path, written: Write, lines: str, said: str) -> None:
    other = "" if lines.startswith("file") else 'file = "/dev/null"\n'
    file = written(f"[fan]\n{other}{lines}\n")
    with pytest.raises(ConfigError) as caught:
        open_node(load(file), file)
    assert str(caught.value).startswith(f"{file}: {said}")


def test_a_package_that_is_no_kind_of_node_is_named(packages: Path, written: Write) -> None:
    site(packages, "broken", "class Broken:\n    pass\n", {NODES: {"broken": "Broken"}})
    forget()
    file = written("[broken]\n")
    with pytest.raises(PluginError, match=r"node 'broken' of broken 1\.0 \(broken:Broken\) lacks Options, open"):
        open_node(load(file), file)


OPENING = """
from types import SimpleNamespace as Made
from mustherd.node.clock import MonotonicClock
from mustherd.terms import Facts

WHOLE = dict(
    facts=Facts(kind="broken", text={}), clock=MonotonicClock(), knobs=(), meter=None, loggers=(), text_loggers=(),
    start_load=print, stop_load=print, close=lambda: CLOSED.append(1),
)
CLOSED = []

class Unread(Made):
    @property
    def facts(self):
        raise AttributeError("no bus")

class Broken:
    Options = None
    @classmethod
    def open(cls, options, home):
        %s
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise RuntimeError('no\\nfan')", " can't be opened: RuntimeError: no fan (broken.py:21)"),
        ("raise SystemExit(0)", " can't be opened: SystemExit: 0 (broken.py:21)"),
        ("return None", " (broken:Broken) opens None, which lacks clock, close, facts, knobs, loggers, meter,"),
        ("return Made(**WHOLE | {'facts': {}})", " (broken:Broken) opens a node with facts {}, which are no must"),
        ("return Made(**WHOLE | {'knobs': ['fan']})", " (broken:Broken) opens a node with knobs 'fan', which lacks"),
        (
            "return Made(**WHOLE | {'knobs': None})",
            " (broken:Broken) opens a node with knobs None; allowed: a tup",
        ),
        (
            "return Made(**WHOLE | {'loggers': (x for x in ())})",
            " (broken:Broken) opens a node with loggers <gener",
        ),
        ("WHOLE.pop('facts'); return Unread(**WHOLE)", " can't be opened: AttributeError: no bus (broken.py:15)"),
        ("return Made(**WHOLE | {'meter': 3})", " (broken:Broken) opens a node with meter 3, which lacks read, zones"),
        ("return Made(**WHOLE)", ""),
    ],
)
def test_what_a_package_opens_is_looked_at_before_it_is_used(
    packages: Path, written: Write, line: str, said: str
) -> None:
    """The muster ended with a traceback, at once or in the middle of a window, and with 0 by a SystemExit of 0."""
    site(packages, "broken", OPENING % line, {NODES: {"broken": "Broken"}})
    forget()
    file = written("[broken]\n")
    if not said:
        assert open_node(load(file), file).facts.kind == "broken"
        return
    with pytest.raises(PluginError) as caught:
        open_node(load(file), file)
    assert str(caught.value).startswith(f"node 'broken' of broken 1.0{said}")
    assert "\n" not in str(caught.value)
    assert len(sys.modules["broken"].CLOSED) == ("Made(" in line or "Unread(" in line)


def test_no_package_takes_the_place_of_a_kind_of_ours(packages: Path, written: Write) -> None:
    site(packages, "broken", "raise SystemExit('loaded')\n", {NODES: {"twin": "Twin"}})
    forget()
    file = written("[twin]\n")
    assert isinstance(open_node(load(file), file), TwinNode)


@pytest.mark.process
def test_a_muster_runs_a_package_s_node_and_puts_it_back(
    fan: Path, tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{packages}:{ROOT}")
    target = tmp_path / "fan1_target"
    # What a package's node touches may be the machine's own: whom it obeys has to be known.
    keys = tmp_path / "keys"
    create(keys, ["shepherd", "muster-1"])
    with shepherd(keys=for_shepherd(keys)) as (running, ports):
        lines = f"[ports]\npulse = {ports.pulse}\nlog = {ports.log}\ncontrol = {ports.control}\n"
        fan.write_text(f'keys = "{keys}"\n{fan.read_text()}{lines}[ranges]\nfan-speed = {{low = 0, high = 2000}}\n')
        process = subprocess.Popen([sys.executable, "-m", "mustherd.muster", "--config", str(fan)])
        try:
            until(running.musters)
            view = running.musters()["muster-1"]
            assert (view.facts.kind, view.facts.text) == ("fan", {"most_rpm": "3000"})
            assert [(knob.name, knob.names, knob.high) for knob in view.knobs] == [("fan-speed", {0: "off"}, 2000)]
            answer = running.decide("muster-1", (Setting(NODE, "fan-speed", 800),)).result(10)
            assert (answer.outcome, target.read_text()) == ("applied", "800\n")
            refused = running.decide("muster-1", (Setting(NODE, "napi-budget", 300),)).result(10)
            assert (refused.outcome, refused.detail) == (
                "refused",
                "no knob napi-budget on node-0 in this muster's configuration",
            )
        finally:
            process.terminate()
            assert process.wait(20) == 0
    assert target.read_text() == "1200\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[twin]\nprofile = 'c6220'\n", "muster-1"),
        ("[linux]\nreserved = [7, 15]\n", "muster-1"),
        ("[linux]\nreserved = '7,15'\n", "linux.reserved: "),
        ("[twin]\nprofil = 'c6220'\n", "twin.profil: "),
        ("[linx]\n", "linx: neither a table of a muster nor a kind of node"),
        ("[ranges.dvfs]\nlow = 'x'\n[twin]\n", "ranges[...].low: "),
    ],
)
def test_a_configuration_is_checked_without_a_look_at_the_machine(
    lines: str,
    said: str,
    written: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the roles have it checked by before they put it in its place."""
    file = written(lines)
    monkeypatch.setattr(sys, "argv", ["mustherd muster run", "--check", "--config", str(file)])
    good = said == "muster-1"
    assert program.main() == (0 if good else 2)
    told = capsys.readouterr()
    assert said in (told.out if good else told.err)
    assert not file.with_name("state").exists()
