"""Knobs by hand, through a running shepherd and without one."""

import json
import signal
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from mustherd.muster.restore import Restoration
from mustherd.terms import UNTOLD, Reading
from tests import running
from tests.waiting import until

pytestmark = pytest.mark.process

CONFIG = """\
muster = "muster-1"
state = "{state}"
[ports]
pulse = {pulse}
log = {log}
control = {control}
coordinate = {coordinate}
[ranges.itr-delay]
low = 0
high = 400
[ranges.dvfs]
low = 1200
high = 2600
[twin]
"""


@pytest.fixture
def herd(tmp_path: Path, free_ports: tuple[int, int, int, int]) -> tuple[str, ...]:
    """The options that reach a herd of one muster."""
    ports = dict(zip(("pulse", "log", "control", "coordinate"), free_ports, strict=True))
    config = tmp_path / "muster.toml"
    config.write_text(CONFIG.format(state=tmp_path / "state", **ports))
    running.begin("shepherd", "run", "--ports", ",".join(map(str, free_ports)), folder=tmp_path)
    running.begin("muster", "run", "--config", config, folder=tmp_path)
    at = ("--shepherd", f"127.0.0.1:{ports['coordinate']}", "--json")
    until(lambda: '"muster-1"' in running.run("herd", "status", *at)[1])
    return at


def test_set_read_back_and_restore(herd: tuple[str, ...]) -> None:
    code, out, err = running.run("knob", "get", "muster-1", *herd)
    assert code == 0, err
    found = {r["knob"]: (r["asked"], r["applied"], r["held"]) for r in json.loads(out)}
    assert found == {"itr-delay": (None, 1, True), "dvfs": (None, 2800, True)}, "what it holds, before anything is set"
    assert json.loads(running.run("knob", "list", *herd)[1]) == json.loads(out)
    assert json.loads(running.run("herd", "status", *herd)[1])["musters"][0]["in_force"] == 0
    code, out, err = running.run("knob", "set", "muster-1", "itr-delay=151", "dvfs=1.9 GHz", *herd)
    assert code == 0, err
    assert {r["knob"]: (r["asked"], r["applied"], r["held"]) for r in json.loads(out)} == {
        "itr-delay": (151, 150, True),
        "dvfs": (1900, 1900, True),
    }
    code, out, _ = running.run("knob", "set", "muster-1", "dvfs=0x1a00", *herd)
    assert {r["knob"]: r["asked"] for r in json.loads(out)} == {"itr-delay": 151, "dvfs": 2600}
    for wrong in ("dvfs=2800", "dvfs=fast", "itr-dely=3", "dvfs"):
        code, _, err = running.run("knob", "set", "muster-1", wrong, *herd)
        assert code == 2, wrong
        assert "Traceback" not in err
    code, out, _ = running.run("knob", "get", "muster-1", *herd)
    assert {r["knob"]: r["applied"] for r in json.loads(out)} == {"itr-delay": 150, "dvfs": 2600}
    code, out, err = running.run("knob", "restore", "muster-1", *herd)
    assert code == 0, err
    assert {r["knob"]: r["applied"] for r in json.loads(out)} == {"itr-delay": 1, "dvfs": 2800}
    for words in (["get", "muster-1"], ["list"], ["restore", "muster-1"]):
        told = running.run("knob", *words, *herd[:-1])[1].splitlines()
        row = next(line.split() for line in told if "itr-delay" in line)
        assert row[-3:] == ["adaptive", "adaptive", "True"], "the word for what is applied and runs"
    code, _, err = running.run("knob", "get", "muster-9", *herd)
    assert code == 2
    assert "muster-1" in err


def test_restore_by_hand_with_no_shepherd(tmp_path: Path, herd: tuple[str, ...]) -> None:
    assert running.run("knob", "set", "muster-1", "dvfs=1200", *herd)[0] == 0
    muster = next(run for run in running.begun if "muster" in run.process.args)  # type: ignore[operator]
    # Its guardian too, which would put the node back at once.
    running.kill(psutil.Process(muster.process.pid), signal.SIGSTOP)
    for guardian in muster.children:
        guardian.kill()
    muster.process.kill()
    muster.process.wait()
    code, out, err = running.run("knob", "restore", "--config", tmp_path / "muster.toml", "--json")
    assert code == 0, err
    assert [(r["knob"], r["applied"]) for r in json.loads(out)] == [("dvfs", 2800)]


def test_a_killed_muster_has_left_nothing_to_restore_by_hand(tmp_path: Path, herd: tuple[str, ...]) -> None:
    assert running.run("knob", "set", "muster-1", "dvfs=1200", *herd)[0] == 0
    muster = next(run for run in running.begun if "muster" in run.process.args)  # type: ignore[operator]
    muster.process.kill()
    muster.process.wait()
    code, out, err = running.run("knob", "restore", "--config", tmp_path / "muster.toml")
    assert (code, out, err) == (0, "this muster has left nothing changed, so there is nothing to put back\n", "")


def test_what_is_back_and_still_in_its_journal_is_told_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    back = Reading(sheep="node-0", knob="dvfs", asked=2800, applied=2800, running=2800, held=True)
    done = Restoration(readings=(back,), untold="originals.json: cannot write: No space left on device")
    monkeypatch.setattr("mustherd.muster.restore.restore", lambda _: done)
    told = CliRunner().invoke(app, ["knob", "restore", "--config", "muster.toml", "--json"])
    assert (told.exit_code, [row["applied"] for row in json.loads(told.stdout)]) == (3, [2800])
    assert told.stderr == f"{UNTOLD}{done.untold}; fix that, and give this once more\n"


def test_no_shepherd_is_one_message() -> None:
    code, out, err = running.run("knob", "list", "--shepherd", "127.0.0.1:9")
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "no shepherd answered" in err
    assert "--shepherd ADDRESS --keys FOLDER" in err


def test_a_herd_of_nobody_is_said_to_be_one(tmp_path: Path, free_ports: tuple[int, int, int, int]) -> None:
    running.begin("shepherd", "run", "--ports", ",".join(map(str, free_ports)), folder=tmp_path)
    at = ("--shepherd", f"127.0.0.1:{free_ports[3]}")
    until(lambda: running.run("herd", "status", *at)[0] == 0)
    assert running.run("knob", "list", *at) == (0, "", "no muster has joined this shepherd\n")


def test_doctor_has_an_answer_for_every_check() -> None:
    code, out, err = running.run("herd", "doctor", "--json")
    checks = json.loads(out)
    assert code == int(any(c["status"] == "wrong" for c in checks)), err
    assert {"kernel", "governor", "energy counters"} <= {c["name"] for c in checks}
    assert all(c["tag"] for c in checks)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dvfs=1200", "dvfs=2600"], "dvfs is there twice, as 1200 and 2600"),
        (["=5"], "'=5': write KNOB=VALUE"),
    ],
)
def test_a_setting_that_is_two_or_has_no_knob_is_refused_before_a_shepherd_is_asked(
    words: list[str], said: str
) -> None:
    code, _, err = running.run("knob", "set", "muster-1", *words)
    assert code == 2
    assert said in " ".join(err.split())
