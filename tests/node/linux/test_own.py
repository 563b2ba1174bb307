"""Knobs that a configuration declares, by files alone."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mustherd.muster.config import ConfigError, load
from mustherd.muster.journal import Journal
from mustherd.muster.nodes import open_node
from mustherd.muster.pasture import Pasture
from mustherd.node.knob import Knob, KnobError, OddError
from mustherd.terms import Setting
from mustherd.testing.knob import KnobContract
from tests.node.linux.kinds import LAB
from tests.node.linux.machine import Machine
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """\
muster = "muster-1"
state = "{state}"

[linux]
root = "{root}"
idle_seconds = 0

{own}

[ranges]
swappiness = {{low = 0, high = 100}}
scheduler = {{low = 0, high = 2}}
fan = {{low = 0, high = 4000}}
"""
SWAPPINESS = """\
[linux.own.swappiness]
sysctl = "vm.swappiness"
unit = "%"
high = 200
step = 10
settle_seconds = 0.5
"""
SCHEDULER = """\
[linux.own.scheduler]
file = "/sys/block/nvme*/queue/scheduler"
texts = ["none", "mq-deadline", "kyber"]
unit = "scheduler"
"""


def config(tmp_path: Path, own: str, root: Path | None = None) -> Path:
    at = root or tmp_path / "root"
    if root is None:
        Machine(LAB).unpack(at)
        for path, text in {
            "proc/sys/vm/swappiness": "60",
            "sys/block/nvme0n1/queue/scheduler": "[none] mq-deadline kyber",
            "sys/block/nvme1n1/queue/scheduler": "none [mq-deadline] kyber",
            "sys/block/sda/queue/scheduler": "none [bfq]",
        }.items():
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_text(f"{text}\n")
    file = tmp_path / "muster.toml"
    file.write_text(CONFIG.format(state=tmp_path / "state", root=at, own=own))
    return file


def knob_of(file: Path, name: str) -> Any:
    return next(k for k in open_node(load(file), file).knobs if k.info.name == name)


def fan(tmp_path: Path, *more: str) -> str:
    """A fan as two commands."""
    state = tmp_path / "fan"
    state.write_text("1200\n")
    script = tmp_path / "fan.py"
    script.write_text(
        "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\n"
        "file.write_text(sys.argv[2] + chr(10)) if len(sys.argv) > 2 else print(file.read_text().strip())\n"
    )
    argv = [sys.executable, "-I", str(script), str(state)]
    return (
        f"[linux.own.fan]\nread = {argv!r}\nwrite = {[*argv, '{value}']!r}\n"
        "unit = 'rpm'\nlow = 800\nhigh = 4000\nstep = 100\n" + "".join(f"{line}\n" for line in more)
    )


class TestSysctl(KnobContract):
    own, name = SWAPPINESS, "swappiness"

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return config(tmp_path, self.own)

    @pytest.fixture
    def knob(self, file: Path) -> Knob:
        made: Knob = knob_of(file, self.name)
        return made

    @pytest.fixture
    def same_knob(self, file: Path, knob: Knob) -> Knob:
        made: Knob = knob_of(file, self.name)
        return made

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


@pytest.mark.process
class TestCommand(TestSysctl):
    name = "fan"

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return config(tmp_path, fan(tmp_path), Path("/"))


def test_it_is_what_its_declaration_says(tmp_path: Path) -> None:
    info = knob_of(config(tmp_path, SWAPPINESS), "swappiness").info
    assert (info.allowed_text(), info.settle_seconds, info.sheep) == ("0..200 step 10 %", 0.5, "node-0")
    (tmp_path / "other").mkdir()
    info = knob_of(config(tmp_path / "other", SCHEDULER), "scheduler").info
    assert info.names == {0: "none", 1: "mq-deadline", 2: "kyber"}


def test_every_file_that_fits_is_set_and_put_back_as_it_was(tmp_path: Path) -> None:
    file = config(tmp_path, SCHEDULER)
    knob = knob_of(file, "scheduler")
    with pytest.raises(OddError, match="nvme0n1/queue/scheduler has 0 scheduler"):
        knob.read()
    pasture = Pasture([knob], load(file).ranges, Journal(tmp_path / "state"))
    assert pasture.apply([Setting("node-0", "scheduler", 2)]).word == "applied"
    block = tmp_path / "root/sys/block"
    assert {d: (block / d / "queue/scheduler").read_text().strip() for d in ("nvme0n1", "nvme1n1", "sda")} == {
        "nvme0n1": "kyber", "nvme1n1": "kyber", "sda": "none [bfq]",
    }  # fmt: skip
    assert not [r for r in pasture.restore() if r.error]
    pasture.close()
    assert (block / "nvme0n1/queue/scheduler").read_text().strip() == "none"
    assert (block / "nvme1n1/queue/scheduler").read_text().strip() == "mq-deadline"


def test_nothing_beyond_the_ranges_is_set(tmp_path: Path) -> None:
    file = config(tmp_path, SWAPPINESS)
    pasture = Pasture(open_node(load(file), file).knobs, load(file).ranges, Journal(tmp_path / "state"))
    result = pasture.apply([Setting("node-0", "swappiness", 150)])
    assert (result.word, "not allowed" in result.detail) == ("refused", True)
    assert (tmp_path / "root/proc/sys/vm/swappiness").read_text() == "60\n"
    pasture.close()


@pytest.mark.process
def test_a_value_never_reaches_a_shell_and_a_failure_is_told(tmp_path: Path) -> None:
    own = "[linux.own.fan]\nread = ['cat', '/nowhere/fan']\nwrite = ['sh', '-c', 'exit 3', '{value}']\nhigh = 4000\n"
    knob = knob_of(config(tmp_path, own, Path("/")), "fan")
    with pytest.raises(KnobError, match=r"fan of node-0: cat ended with 1: .*No such file"):
        knob.read()
    with pytest.raises(KnobError, match="fan of node-0: sh ended with 3: it said nothing"):
        knob.write(5)
    slow = own.replace("'cat', '/nowhere/fan'", "'sleep', '60'") + "timeout_seconds = 0.1\n"
    with pytest.raises(KnobError, match=r"sleep takes longer than 0\.1 s"):
        knob_of(config(tmp_path, slow, Path("/")), "fan").read()


@pytest.mark.process
def test_a_command_that_fails_and_has_set_its_value_all_the_same_has_put_it_back(tmp_path: Path) -> None:
    """'Found at 5 and is at 5' was an error, for which a whole experiment had no verdict."""
    value = tmp_path / "value"
    value.write_text("5")
    argv = ["sh", "-c", f"echo $1 > {value}; test $1 != 5", "-", "{value}"]
    own = f"[linux.own.fan]\nread = ['cat', {str(value)!r}]\nwrite = {argv!r}\nhigh = 4000\n"
    file = config(tmp_path, own, Path("/"))
    pasture = Pasture([knob_of(file, "fan")], load(file).ranges, Journal(tmp_path / "state"))
    assert pasture.apply([Setting("node-0", "fan", 7)]).word == "applied"
    assert [(r.error, r.applied) for r in pasture.restore()] == [("", 5)]
    assert pasture.unrestored == 0
    pasture.close()


@pytest.mark.process
def test_what_takes_effect_late_is_waited_for_on_the_way_back_too(tmp_path: Path) -> None:
    value, late = tmp_path / "value", tmp_path / "late"
    value.write_text("5")
    argv = ["sh", "-c", f"(sleep 1; echo $1 > {late}; mv {late} {value}) > {tmp_path / 'said'} 2>&1 &", "-", "{value}"]
    own = f"[linux.own.fan]\nread = ['cat', {str(value)!r}]\nwrite = {argv!r}\nhigh = 4000\nsettle_seconds = 30\n"
    file = config(tmp_path, own, Path("/"))
    knob = knob_of(file, "fan")
    pasture = Pasture([knob], load(file).ranges, Journal(tmp_path / "state"))
    pasture.apply([Setting("node-0", "fan", 7)])
    until(lambda: value.read_text() == "7\n")
    assert [(r.error, r.applied) for r in pasture.restore()] == [("", 5)]
    pasture.close()


@pytest.mark.process
@pytest.mark.parametrize(
    ("write", "word", "said"),
    [
        ("sed -i s/on/off/ $1", "failed", "nothing was touched: .*it holds 'Error: busy', no whole number"),
        ("rm $1; exit 3", "failed", "sh ended with 3: .*; the node is put back$"),
    ],
)
def test_what_can_not_be_put_back_is_not_touched_and_what_was_not_touched_is_back(
    tmp_path: Path, write: str, word: str, said: str
) -> None:
    """A `read` that printed its trouble and ended with 0 had that written to the knob when it was put back."""
    value = tmp_path / "value"
    value.write_text("Error: busy" if "busy" in said else "70")
    mark = tmp_path / "mark"
    mark.write_text("on")
    argv = ["sh", "-c", write, "-", str(mark), "{value}"]
    own = f"[linux.own.fan]\nread = ['cat', {str(value)!r}]\nwrite = {argv!r}\nhigh = 4000\n"
    file = config(tmp_path, own, Path("/"))
    pasture = Pasture([knob_of(file, "fan")], load(file).ranges, Journal(tmp_path / "state"))
    result = pasture.apply([Setting("node-0", "fan", 5)])
    assert result.word == word
    assert re.search(said, result.detail), result.detail
    assert "busy" not in said or mark.read_text() == "on"
    pasture.close()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("[linux.own.x]\nhigh = 5\n", "it needs one of: file; sysctl; read and write"),
        ("[linux.own.x]\nsysctl = 'a.b'\nfile = '/sys/x'\nhigh = 5\n", "it needs one of"),
        ("[linux.own.x]\nfile = '/etc/passwd'\nhigh = 5\n", "file '/etc/passwd' is none below /sys or /proc"),
        ("[linux.own.x]\nfile = '/sys/../etc/passwd'\nhigh = 5\n", "is none below /sys or /proc"),
        ("[linux.own.x]\nsysctl = 'vm/../../etc'\nhigh = 5\n", "is no name such as vm.swappiness"),
        ("[linux.own.x]\nread = ['a']\nhigh = 5\n", "commands come in pairs"),
        ("[linux.own.x]\nread = ['a']\nwrite = ['b']\nhigh = 5\n", "write has no argument with {value}"),
        (
            "[linux.own.x]\nread = ['./a']\nwrite = ['b', '{value}']\nhigh = 5\n",
            "'./a': commands run in /; write its whole",
        ),
        ('[linux.own.x]\nread = ["a", "\\u0000"]\nwrite = ["b", "{value}"]\nhigh = 5\n', "holds a byte 0"),
        ("[linux.own.x]\nsysctl = 'a.b'\n", "it needs values"),
        ("[linux.own.x]\nsysctl = 'a.b'\nlow = 9\nhigh = 5\n", "low 9 is above high 5; allowed: one from 9 on as high"),
        ("[linux.own.x]\nsysctl = 'a.b'\ntexts = ['p', 'p']\n", "a text is there twice"),
        ("[linux.own.x]\nsysctl = 'a.b'\ntexts = ['p']\nhigh = 3\n", "texts are the values"),
        (
            "[linux.own.x]\nsysctls = 'a.b'\n",
            "linux.own.x: object contains unknown field `sysctls`; allowed: file, sysctl",
        ),
        (
            "[linux.own.y]\nsysctl = 'a.b'\nhigh = 2\n[linux.own.x]\nsysctl = 'a.b'\nhigh = '2'\n",
            "linux.own.x.high: should",
        ),
        ("[linux.own.dvfs]\nsysctl = 'a.b'\nhigh = 3\n", "there is a knob of that name already"),
        ("[linux.own.'X y']\nsysctl = 'a.b'\nhigh = 3\n", "linux.own.X y: its name should be text matching"),
    ],
)
def test_what_can_be_no_knob_is_refused_with_file_and_key(tmp_path: Path, own: str, said: str) -> None:
    file = config(tmp_path, own)
    with pytest.raises(ConfigError) as caught:
        open_node(load(file), file)
    assert str(caught.value).startswith(f"{file}: linux")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ("[linux.own.x]\nsysctl = 'no.such'\nhigh = 5\n", "proc/sys/no/such: absent"),
        ("[linux.own.x]\nfile = '/sys/none*/x'\nhigh = 5\n", "there is no place for it"),
        ("[linux.own.x]\nread = ['true']\nwrite = ['true', '{value}']\nhigh = 5\n", "recorded files have no commands"),
    ],
)
def test_what_the_machine_lacks_is_a_fact(tmp_path: Path, own: str, why: str) -> None:
    file = config(tmp_path, own)
    assert why in open_node(load(file), file).facts.text["no_x"]


AS_NOBODY = """\
import os
from mustherd.node.knob import KnobError
from mustherd.node.linux.declaration import OwnKnob
from mustherd.node.linux.own import declared
from mustherd.node.linux.tree import Tree

own = OwnKnob(sysctl="vm.swappiness", high=200)
[knob] = declared({"swappiness": own})
knob(own, Tree())
os.seteuid(65534)
try:
    knob(own, Tree())
except KnobError as error:
    print(error)
"""


@pytest.mark.root
@pytest.mark.process
@pytest.mark.skipif(not os.access("/proc/sys/vm/swappiness", os.W_OK), reason="/proc/sys is read-only here")
def test_a_sysctl_that_takes_root_is_missing_for_who_is_not() -> None:
    """A provisioned muster has capabilities and another account: it offered the knob once and could never set it."""
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=ROOT, capture_output=True, text=True, check=False)
    said = "swappiness: /proc/sys/vm/swappiness: permission denied (Permission denied): writing it takes root\n"
    assert done.stdout == said, done.stderr


@pytest.mark.root
def test_a_configuration_that_others_may_write_declares_nothing(tmp_path: Path) -> None:
    file = config(tmp_path, SWAPPINESS)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match=r"muster\.toml"):
        open_node(load(file), file)
