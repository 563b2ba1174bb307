"""One knob, two musters: the second is told who has it, and never takes what the first one set for what was there."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.locks import FileLock
from mustherd.muster.claims import FOLDER
from mustherd.muster.journal import BOOT_ID, LOCK_NAME, left_changed
from mustherd.muster.restore import restore
from mustherd.node.knob import Site
from mustherd.node.server.knobs import BusyPoll, BusyRead
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import Store
from mustherd.terms import Setting
from mustherd.wire.ports import Ports
from tests.attacks.machines import ORIGINAL_KHZ, LinuxMuster, clock, machine
from tests.attacks.test_exit_codes import full_disk, unread
from tests.herding import PATIENCE_S, shepherd
from tests.node.linux.kinds import CPU
from tests.running import definition, start
from tests.running import run as run_command
from tests.typed import some
from tests.waiting import until

pytestmark = pytest.mark.process

DVFS = ("node-0", "dvfs")

Herd = tuple[Shepherd, LinuxMuster, LinuxMuster]


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    """A muster that has set the clock, and another of the same machine that has not begun."""
    root = machine(tmp_path / "machine")
    with shepherd() as (running, ports), contextlib.ExitStack() as stack:
        pair = [LinuxMuster(tmp_path, ports, name, root=root) for name in ("a", "b")]
        for one in pair:
            stack.callback(one.end)
        pair[0].start()
        set_clock(running, "a")
        yield running, pair[0], pair[1]


def set_clock(running: Shepherd, name: str) -> None:
    until(lambda: running.musters().get(name))
    assert running.decide(name, (Setting("node-0", "dvfs", 1500),)).result(PATIENCE_S).outcome == "applied"


def ended(one: LinuxMuster) -> int:
    some(one.process).terminate()
    return some(one.process).wait(PATIENCE_S)


def test_the_second_is_told_who_has_it(herd: Herd) -> None:
    _, a, b = herd
    assert some(b.start().process).wait(PATIENCE_S) == 3
    [said] = [line for line in b.log.splitlines() if line.startswith("mustherd: ")]
    assert said.startswith(f"mustherd: dvfs on node-0 of this machine is held by process {some(a.process).pid} (")
    assert str(a.config) in said
    assert clock(a.root) == "1500000"
    # By hand there is nothing of its own to put back, and nobody to be stopped for that.
    assert restore(b.config).readings == ()
    assert clock(a.root) == "1500000"
    assert ended(a) == 0
    assert clock(a.root) == ORIGINAL_KHZ


@pytest.mark.parametrize("whole_first", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_knob_of_the_node_and_those_of_its_cores_have_one_owner(tmp_path: Path, whole_first: bool) -> None:
    root = machine(tmp_path / "machine")
    with shepherd() as (running, ports), contextlib.ExitStack() as stack:
        a, b = (LinuxMuster(tmp_path, ports, name, root=root) for name in ("a", "b"))
        (b if whole_first else a).options = 'dvfs_sheep = "core"\n'
        for one in (a, b):
            stack.callback(one.end)
        a.start()
        until(lambda: running.musters().get("a"))
        assert some(b.start().process).wait(PATIENCE_S) == 3
        assert f"of this machine is held by process {some(a.process).pid} (" in b.log


@pytest.mark.long
def test_other_knobs_of_the_machine_are_another_s(herd: Herd) -> None:
    running, a, b = herd
    b.ranges = "rapl-limit = {low = 40, high = 135}\n"
    b.start()
    until(lambda: running.musters().get("b"))
    assert ended(b) == ended(a) == 0
    assert clock(a.root) == ORIGINAL_KHZ


@pytest.mark.long
def test_what_a_muster_left_that_is_gone_is_not_taken_for_what_was_there(herd: Herd) -> None:
    """Not even where its own state folder is gone as well."""
    running, a, b = herd
    a.kill_both()
    shutil.rmtree(a.folder / a.name)
    assert clock(a.root) == "1500000"
    b.start()
    until(lambda: clock(a.root) == ORIGINAL_KHZ)
    assert f"dvfs on node-0 was left changed by the muster of {a.folder / a.name}" in b.log
    set_clock(running, "b")
    assert ended(b) == 0
    assert clock(a.root) == ORIGINAL_KHZ
    # What is left beside the lock says that the journal of the first counts no more.
    [note] = (a.root / FOLDER).glob("*.json")
    assert json.loads(note.read_bytes()) | {"check": ""} == {
        "boot_id": BOOT_ID.read_text().strip(), "value": None, "state": str(b.folder / "b"), "check": "",
        "taken": [str(a.folder / "a")],
    }  # fmt: skip


def by_hand(root: Path) -> None:
    """Somebody sets the clock with a tool of their own."""
    for file in (root / CPU).glob("cpu*/cpufreq/scaling_setspeed"):
        file.write_text("2000000\n")


@pytest.mark.long
def test_what_another_has_put_back_a_journal_of_before_does_not_put_back_once_more(herd: Herd) -> None:
    """Its own value had long been set by others: `knob restore` and the next life wrote over it."""
    running, a, b = herd
    a.kill_both()
    until(lambda: [*left_changed(a.folder / "a")] == [DVFS])
    b.start()
    until(lambda: clock(a.root) == ORIGINAL_KHZ)
    until(lambda: running.musters().get("b"))
    # That one runs and has the knobs; nothing of the first's is to be put back, and nobody to be stopped for it.
    assert left_changed(a.folder / "a") == {}
    assert restore(a.config).readings == ()
    assert ended(b) == 0
    by_hand(a.root)
    assert restore(a.config).readings == ()
    a.start()
    until(lambda: a.log.count("welcomed") == 2)
    assert ended(a) == 0
    assert clock(a.root) == "2000000"
    # It has them again, so its next originals count.
    a.start()
    until(lambda: a.log.count("welcomed") == 3)
    set_clock(running, "a")
    a.kill_both()
    until(lambda: [*left_changed(a.folder / "a")] == [DVFS])
    assert restore(a.config).exit_code == 0
    assert clock(a.root) == "2000000"


@pytest.mark.long
def test_where_the_second_was_killed_too_the_first_takes_it_all_over_again(herd: Herd) -> None:
    running, a, b = herd
    a.kill_both()
    b.start()
    set_clock(running, "b")
    b.kill_both()
    until(lambda: [*left_changed(b.folder / "b")] == [DVFS])
    assert left_changed(a.folder / "a") == {}
    a.start()
    until(lambda: clock(a.root) == ORIGINAL_KHZ)
    until(lambda: a.log.count("welcomed") == 2)
    assert ended(a) == 0
    assert left_changed(b.folder / "b") == {}
    by_hand(a.root)
    assert restore(b.config).readings == ()
    assert clock(a.root) == "2000000"


@pytest.mark.long
def test_where_the_notes_were_removed_a_journal_still_counts(herd: Herd) -> None:
    """The second can't know what the first had changed, and takes it for what was there; the first one knows."""
    running, a, b = herd
    a.kill_both()
    shutil.rmtree(a.root / FOLDER)
    b.start()
    set_clock(running, "b")
    assert ended(b) == 0
    until(lambda: [*left_changed(a.folder / "a")] == [DVFS])
    assert restore(a.config).exit_code == 0
    assert clock(a.root) == ORIGINAL_KHZ


@pytest.mark.long
def test_the_guardian_of_one_that_was_killed_has_them_until_it_is_done(herd: Herd) -> None:
    _, a, b = herd
    a.kill()
    b.start()
    until(lambda: clock(a.root) == ORIGINAL_KHZ)
    until(lambda: b.process is not None and (b.process.poll() is not None or "welcomed" in b.log))
    if some(b.process).poll() is not None:
        assert "held by process" in b.log
    b.end()
    assert clock(a.root) == ORIGINAL_KHZ


@pytest.mark.parametrize("how", ["full", "unread"])
def test_by_hand_a_knob_that_is_not_back_is_told_by_the_exit_code_whoever_reads(herd: Herd, how: str) -> None:
    """Where nobody read the output it was 0, as where all is back."""
    _, a, _ = herd
    a.kill_both()
    file = a.root / CPU / "cpu1/cpufreq/scaling_setspeed"
    file.unlink()
    file.mkdir()
    command_line = [sys.executable, "-m", "mustherd", "knob", "restore", "--config", str(a.config)]
    with (full_disk if how == "full" else unread)() as output:
        assert subprocess.run(command_line, stdout=output, check=False).returncode == 3


@pytest.mark.long
def test_a_damaged_note_of_what_was_left_is_said_and_the_journal_counts(herd: Herd) -> None:
    _, a, b = herd
    a.kill_both()
    [note] = (a.root / FOLDER).glob("*.json")
    note.write_bytes(note.read_bytes()[:-20])
    a.start()
    until(lambda: clock(a.root) == ORIGINAL_KHZ)
    assert "is damaged and thrown away" in a.log
    assert ended(a) == 0
    b.ports = Ports(1, 1, 1, 1)


@pytest.mark.long
def test_a_folder_of_claims_that_others_may_write_is_not_believed(herd: Herd) -> None:
    _, a, b = herd
    assert ended(a) == 0
    (a.root / FOLDER).chmod(0o777)
    assert some(b.start().process).wait(PATIENCE_S) == 3
    assert "with mode 777" in b.log


def test_what_all_servers_of_a_machine_share_is_the_machine_s() -> None:
    """Two experiments on servers of their own: busy-poll is one setting of the kernel."""
    assert BusyPoll().site == Site(Path("/"), "busy-poll")
    assert BusyRead().site == Site(Path("/"), "busy-read")
    assert BusyPoll(Path("x")).site is None


@pytest.mark.long
def test_an_experiment_whose_muster_may_not_begin_says_whose_it_is(tmp_path: Path) -> None:
    run = start(tmp_path, definition(musters=1, trials=400, speed=200))
    registers = run.folder / "herd/muster-1/state/registers.json"
    until(registers.exists)
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] in (4, 130)
    lock = FileLock(registers.with_name(LOCK_NAME))
    try:
        code, _, err = run_command("experiment", "resume", run.folder, "--no-report")
    finally:
        lock.close()
    assert code == 3
    assert f"{registers.parent}: another muster uses this state folder, process {os.getpid()} (" in err
    with Store.open(run.folder, read_only=True) as store:
        assert store.experiment().status == "failed"
        assert "another muster uses this state folder" in store.experiment().status_detail


@pytest.mark.long
def test_what_was_left_of_single_cores_is_told_to_whoever_sets_them_as_one(tmp_path: Path) -> None:
    root = machine(tmp_path / "machine")
    with shepherd() as (running, ports), contextlib.ExitStack() as stack:
        a, b = (LinuxMuster(tmp_path, ports, name, root=root) for name in ("a", "b"))
        a.options = 'dvfs_sheep = "core"\n'
        for one in (a, b):
            stack.callback(one.end)
        a.start()
        until(lambda: running.musters().get("a"))
        assert running.decide("a", (Setting("core-1", "dvfs", 1500),)).result(PATIENCE_S).outcome == "applied"
        a.kill_both()
        assert some(b.start().process).wait(PATIENCE_S) == 3
        assert f"dvfs on core-1 was left changed by the muster of {a.folder / a.name}" in b.log
        assert clock(root, 1) == "1500000"
        # As it is told: that one puts back what it changed.
        a.start()
        until(lambda: clock(root, 1) == ORIGINAL_KHZ)
        assert ended(a) == 0
        b.start()
        until(lambda: running.musters().get("b"))
        assert ended(b) == 0
