"""Whatever ends a muster, its node is put back: by itself where it can, by its guardian where it can't."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.daemon import STOP_SIGNALS, StopSignals
from mustherd.muster.guardian import Guardian, Shared
from mustherd.muster.journal import Journal, JournalError
from mustherd.muster.service import UNGUARDED
from mustherd.terms import NODE, Setting
from tests.fakes import ORIGINALS as ORIGINALS_OF_FAKES
from tests.fakes import FakeNode
from tests.herding import PATIENCE_S, MusterProcess, shepherd
from tests.typed import some
from tests.waiting import until

SLOW = (Setting("node-0", "dvfs", 1300), Setting("node-0", "itr-delay", 100))
SLOW_VALUES = {"dvfs": 1300, "itr-delay": 100}
ORIGINALS = {"dvfs": 2800, "itr-delay": 1}

DAEMON = [sys.executable, "-m", "mustherd.muster", "--config"]


class Daemon(MusterProcess):
    """A muster as its unit starts it, with its signals."""

    def start(self) -> "Daemon":
        file = self.write()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*DAEMON, str(file)], stderr=log)
        return self

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def originals(self) -> list[dict[str, object]]:
        return list(json.loads((self.folder / self.name / "originals.json").read_text())["originals"])


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Daemon]:
    """A muster with a decision in force."""
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports).start()
        try:
            until(lambda: running.musters().get("muster-1"))
            assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            assert one.registers == SLOW_VALUES
            yield one
        finally:
            one.end()


SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "ALRM", "ABRT", "XCPU", "RTMAX")


@pytest.mark.process
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "HUP" else pytest.mark.long) for name in SIGNALS]
)
def test_a_signal_that_can_be_caught_stops_it_in_good_order(changed: Daemon, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    guardian = changed.guardian
    changed.send(number)
    code = some(changed.process).wait(PATIENCE_S)
    # systemd takes 0 for a clean end, and starts anything else again.
    assert code == (0 if number in (signal.SIGTERM, signal.SIGINT) else 128 + number)
    assert changed.registers == ORIGINALS
    assert changed.originals() == []
    until(lambda: not psutil.pid_exists(guardian))
    assert "the guardian has put" not in changed.log


@pytest.mark.process
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGSEGV, signal.SIGBUS))],
)
def test_a_signal_that_can_not_be_caught_leaves_it_to_the_guardian(changed: Daemon, number: int) -> None:
    guardian = changed.guardian
    changed.send(number)
    assert some(changed.process).wait(PATIENCE_S) == -number
    until(lambda: not psutil.pid_exists(guardian))
    assert changed.registers == ORIGINALS
    assert changed.originals() == []
    assert changed.log.count("the guardian has put the node back as it was found: its muster was killed") == 1


@pytest.mark.process
def test_the_guardian_itself_hears_no_signal_that_it_could_ignore(changed: Daemon) -> None:
    guardian = changed.guardian
    for number in STOP_SIGNALS:
        os.kill(guardian, number)
    changed.kill()
    until(lambda: changed.registers == ORIGINALS)


BORN_SLOWLY = """
import os, signal, sys, time
from pathlib import Path
from mustherd.muster.service import serve

os.register_at_fork(after_in_child=lambda: time.sleep(2))  # fixed: as on a machine that has no time for it
sys.exit(serve(Path(sys.argv[1]), lambda stop: [signal.signal(s, lambda *_: stop()) for s in (2, 15)]))
"""


@pytest.mark.process
def test_a_guardian_hears_no_signal_before_it_has_begun(tmp_path: Path) -> None:
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports)
        one.process = subprocess.Popen([sys.executable, "-c", BORN_SLOWLY, str(one.write())])
        try:
            [guardian] = until(lambda: psutil.Process(some(one.process).pid).children())
            for number in STOP_SIGNALS:
                os.kill(guardian.pid, number)
            until(lambda: running.musters().get("muster-1"))
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            one.kill()
            until(lambda: one.registers == ORIGINALS)
        finally:
            one.end()


@pytest.mark.long
@pytest.mark.process
def test_a_guardian_rests_while_nothing_is_changed_and_looks_often_while_something_is(tmp_path: Path) -> None:
    """The node is the workload's; what watches costs it nothing while there is nothing to put back."""
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports).start()
        try:
            until(lambda: running.musters().get("muster-1"))

            def looks(seconds: float) -> int:
                before = psutil.Process(one.guardian).num_ctx_switches().voluntary
                time.sleep(seconds)  # fixed: what it does within them is counted
                return psutil.Process(one.guardian).num_ctx_switches().voluntary - before

            assert looks(2.5) <= 3
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            until(lambda: looks(0.5) >= 2)
        finally:
            one.end()


@pytest.mark.process
def test_without_its_guardian_a_muster_stops_and_says_so(changed: Daemon) -> None:
    os.kill(changed.guardian, signal.SIGKILL)
    assert some(changed.process).wait(PATIENCE_S) == UNGUARDED
    assert changed.registers == ORIGINALS
    assert "the guardian is gone" in changed.log


STOPPED = """
import signal, sys
from pathlib import Path
from mustherd.muster import guardian
from mustherd.muster.service import serve

guardian.STILL_S, guardian.REST_S = 2.0, 0.2
sys.exit(serve(Path(sys.argv[1]), lambda stop: [signal.signal(s, lambda *_: stop()) for s in (2, 15)]))
"""


@pytest.mark.long
@pytest.mark.process
def test_a_muster_whose_guardian_stands_still_ends_it_stops_and_says_so(tmp_path: Path) -> None:
    """Nobody would put the node back then: a second blow, and it stays changed."""
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports)
        with (tmp_path / "log").open("ab") as log:
            one.process = subprocess.Popen([sys.executable, "-c", STOPPED, str(one.write())], stderr=log)
        try:
            until(lambda: running.musters().get("muster-1"))
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            guardian = one.guardian
            os.kill(guardian, signal.SIGSTOP)
            assert one.process.wait(PATIENCE_S) == UNGUARDED
            assert one.registers == ORIGINALS
            assert "the guardian has stood still for 2 s" in one.log
            until(lambda: not psutil.pid_exists(guardian))
        finally:
            one.end()


@pytest.mark.process
def test_a_guardian_that_stands_still_keeps_no_next_life_out(changed: Daemon) -> None:
    guardian = changed.guardian
    os.kill(guardian, signal.SIGSTOP)
    changed.send(signal.SIGTERM)
    assert some(changed.process).wait(PATIENCE_S) == 0
    until(lambda: not psutil.pid_exists(guardian))
    changed.start()
    until(lambda: changed.log.count("welcome") > 1 or some(changed.process).poll() is not None)
    assert some(changed.process).poll() is None


@pytest.mark.process
def test_where_both_are_killed_the_unit_s_last_command_puts_the_node_back(changed: Daemon) -> None:
    changed.kill_both()
    assert changed.registers == SLOW_VALUES
    command = [*DAEMON, str(changed.folder / "muster-1.toml"), "--restore"]
    for _ in range(2):
        assert subprocess.run(command, check=False).returncode == 0
        assert changed.registers == ORIGINALS
    assert changed.originals() == []


@pytest.mark.process
def test_the_next_life_waits_for_the_guardian_of_the_one_before(changed: Daemon) -> None:
    """Killed and started again at once, over and over: never two that write."""
    for _ in range(5):
        changed.kill()
        changed.start()
        until(lambda: changed.registers == ORIGINALS)
    assert some(changed.process).poll() is None
    assert "another muster uses" not in changed.log


HUNG = """
import ctypes, signal, sys
from pathlib import Path
from mustherd.muster import logs, muster
from mustherd.muster.service import serve

def hang(*_):
    # As a page of a file does whose disk has stopped: in the kernel, with the interpreter's lock.
    if Path(sys.argv[2]).exists():
        ctypes.PyDLL(None).sleep(600)

muster.Logs.work = hang
sys.exit(serve(Path(sys.argv[1]), lambda stop: [signal.signal(s, lambda *_: stop()) for s in (2, 15)]))
"""


@pytest.mark.process
def test_a_muster_whose_disk_hangs_is_ended_and_its_node_put_back(tmp_path: Path) -> None:
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports)
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-c", HUNG, str(one.write()), str(tmp_path / "hang")]
            one.process = subprocess.Popen(command, stderr=log)
        try:
            until(lambda: running.musters().get("muster-1"))
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            (tmp_path / "hang").write_text("")
            until(lambda: one.registers == ORIGINALS)
            assert one.process.wait(PATIENCE_S) == -signal.SIGKILL
            until(lambda: "its muster has not come round for" in one.log)
        finally:
            one.end()


@pytest.mark.long
@pytest.mark.process
def test_a_muster_that_hangs_with_nothing_in_force_is_left_alone(tmp_path: Path) -> None:
    with shepherd() as (running, ports):
        one = Daemon(tmp_path, ports)
        file = one.write()
        file.write_text("lease_s = 1.0\n" + file.read_text())
        one.process = subprocess.Popen([sys.executable, "-c", HUNG, str(file), str(tmp_path / "hang")])
        try:
            until(lambda: running.musters().get("muster-1"))
            (tmp_path / "hang").write_text("")
            until(lambda: running.musters()["muster-1"].presence == "missing")
            # Far longer than its lease would last.
            until(lambda: running.musters()["muster-1"].silent_s > 3.0)
            assert one.process.poll() is None
        finally:
            one.end()


def test_every_signal_that_would_end_a_process_is_caught_but_those_that_can_not_be() -> None:
    """signal(7): default action Term or Core."""
    ends = {
        "HUP",
        "INT",
        "QUIT",
        "ABRT",
        "USR1",
        "USR2",
        "ALRM",
        "TERM",
        "STKFLT",
        "XCPU",
        "VTALRM",
        "PROF",
        "IO",
        "PWR",
    }
    assert {signal.Signals[f"SIG{name}"] for name in ends | {"RTMIN", "RTMAX"}} <= set(STOP_SIGNALS)
    assert not {signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGSEGV} & set(STOP_SIGNALS)


KEYS = st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))


@given(st.lists(st.dictionaries(KEYS, st.integers(0, 2**53 - 1), max_size=50), min_size=1, max_size=5))
def test_what_is_shared_is_the_newest_of_all_that_was_kept(all_of_them: list[dict[tuple[str, str], int]]) -> None:
    shared = Shared()
    for number, originals in enumerate(all_of_them):
        shared.keep(originals)
        shared.alive(float(number))
        assert shared.originals() == originals
        assert shared.came_round == number
        assert not shared.dismissed


def test_who_needs_no_guardian_any_more_says_so() -> None:
    shared = Shared()
    assert not shared.dismissed
    shared.dismiss()
    assert shared.dismissed


SAID_AT = (4000.25, 1.1e-300)
"""Times of which no byte is the same."""


def test_a_guardian_never_reads_half_of_when_its_muster_came_round() -> None:
    """As zeros it would be a muster that has stood still since the machine started, and is killed for it."""
    shared = Shared()
    shared.alive(SAID_AT[0])
    pid = os.fork()
    if not pid:
        while True:
            for now in SAID_AT:
                shared.alive(now)
    try:
        assert {shared.came_round for _ in range(1_000_000)} <= set(SAID_AT)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("rounds", "looks", "silent"),
    [
        # It looks on.
        ([0.0, 5.0, 10.0, 15.0], [0.0, 5.0, 10.0, 15.0], 0.0),
        # It does not, and its muster came round all the while.
        ([float(n) for n in range(16)], [0.0] * 16, 15.0),
        ([float(n) for n in range(10)], [0.0] * 10, 0.0),
        # All stood still, the muster too.
        ([0.0, 1.0, 60.0, 61.0], [0.0, 0.9, 0.9, 0.9], 0.0),
        ([0.0, 1.0, 60.0, *(60.0 + n for n in range(1, 12))], [0.0, 0.9, *[0.9] * 12], 11.0),
    ],
)
def test_a_guardian_that_does_not_look_while_its_muster_comes_round_stands_still(
    tmp_path: Path, rounds: list[float], looks: list[float], silent: float
) -> None:
    with contextlib.closing(Journal(tmp_path)) as journal:
        made = Guardian([], journal, 3.0, close=lambda: None)
        made._pid = 1
        for now, looked in zip(rounds, looks, strict=True):
            made._shared.looked(looked)
            found = made.stands_still(now)
    assert found == silent


def test_a_thousand_knobs_fit_and_what_does_not_is_said() -> None:
    shared = Shared()
    shared.keep({(f"core-{n}", "a-rather-long-name-of-a-knob"): 2**53 - 1 for n in range(1024)})
    assert len(shared.originals()) == 1024
    with pytest.raises(ValueError, match="do not fit"):
        shared.keep({(f"core-{n}", "x" * 100): n for n in range(16_384)})
    assert len(shared.originals()) == 1024


KILLED_WHILE_KEEPING = """
import os, sys
from mustherd.muster.guardian import Shared
shared, reader = Shared(), os.pipe()
if os.fork() == 0:
    n = 0
    while True:
        n += 1
        shared.keep({(f"core-{k}", "dvfs"): n for k in range(200)})
        if n == 3:
            os.write(reader[1], b"x")
os.read(reader[0], 1)
import signal, time
time.sleep(float(sys.argv[1]))
children = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
os.kill(int(children[0]), signal.SIGKILL)
os.wait()
kept = shared.originals()
assert len(kept) == 200 and len(set(kept.values())) == 1, kept
"""


@pytest.mark.process
@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.0071, 0.0113])
def test_a_muster_killed_while_it_tells_leaves_what_it_told_before(after_s: float) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_KEEPING, str(after_s)], check=True, timeout=60)


def test_a_guardian_whose_journal_is_broken_puts_back_tells_it_and_ends_what_the_node_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, closed = FakeNode(), []
    journal = Journal(tmp_path)
    made = Guardian(node.knobs, journal, 3.0, close=lambda: closed.append(True))
    node.dvfs.value = 1300
    made._shared.keep({(NODE, "dvfs"): 2600})

    def broken(_restored: object) -> None:
        raise JournalError("originals.json: Input/output error")

    monkeypatch.setattr(journal, "take_up", broken)
    made._put_back("its muster was killed")
    assert node.values == ORIGINALS_OF_FAKES
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        "the journal doesn't know what was put back: originals.json: Input/output error"
    ]
    assert closed == [True]
    journal.close()


def test_a_stop_signal_that_comes_again_changes_nothing() -> None:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    calls: list[int] = []
    try:
        signals = StopSignals(lambda: calls.append(1))
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # fixed: handlers run
        assert len(calls) == 2
        assert (signals.exit_code(0), signals.exit_code(3)) == (128 + signal.SIGUSR1, 3)
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)
