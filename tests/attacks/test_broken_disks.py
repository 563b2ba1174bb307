"""A disk that gives errors (EIO) under a journal, a log or a store: told in a line, nodes put back, exit code 3.

What was acknowledged is there when the disk is. And one that is full under a journal, or stands still under a store.
"""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mustherd.herd.timing import LEASE_S
from mustherd.rowlog.ledger import Ledger
from mustherd.rowlog.writer import LogWriter
from mustherd.store.store import DATABASE, Store
from mustherd.terms import Setting
from mustherd.trial import TrialState
from mustherd.wire.messages import LogAction
from mustherd.wire.ports import Ports
from tests.faults.disks import Disk
from tests.faults.member import TREE_ORIGINAL, make_tree
from tests.herding import PATIENCE_S, shepherd
from tests.log_herd import render, rows
from tests.node.linux.kinds import CPU
from tests.running import begin, definition
from tests.running import run as run_command
from tests.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.root]

EIO = "Input/output error"
SETTING, ANOTHER = (Setting("node-0", "dvfs", 1300),), (Setting("node-0", "rapl-limit", 50),)
MUSTER = [sys.executable, "-m", "mustherd.muster", "--config"]


@pytest.fixture
def disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        made = Disk(Path(home), "disk", 192)
        yield made
        made.close()


class Node:
    """A Linux node whose files lie in a folder, and its muster's configuration; nothing of it is on the disk that
    breaks but the state folder, where that is asked for."""

    def __init__(self, home: Path, ports: Ports, state: Path) -> None:
        self.tree = make_tree(home / "tree")
        self.config = home / "muster.toml"
        self.log = home / "log"
        self.source = os.open(self.tree / "proc/ixgbe_stats/core/0", os.O_RDWR)
        p = ports
        self.config.write_text(
            f'muster = "muster-1"\nstate = "{state}"\n'
            f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
            "[ranges]\ndvfs = {low = 1200, high = 2900}\nrapl-limit = {low = 40, high = 135}\n"
            f'[linux]\nroot = "{self.tree}"\nidle_seconds = 0.0\nnic_log = "off"\n'
        )

    @property
    def mhz(self) -> int:
        return int((self.tree / CPU / "cpu0/cpufreq/scaling_setspeed").read_text()) // 1000

    @property
    def whole(self) -> set[int]:
        """What its cores are set to; 0 for one that is being written."""
        found = [file.read_text() for file in (self.tree / CPU).glob("cpu*/cpufreq/scaling_setspeed")]
        return {int(text or "0") // 1000 for text in found}

    def feed(self, text: bytes) -> None:
        """Rows of its first core, as its driver has them."""
        os.write(self.source, text)

    @contextmanager
    def muster(self) -> "Iterator[subprocess.Popen[bytes]]":
        with self.log.open("ab") as log:
            process = subprocess.Popen([*MUSTER, self.config], stderr=log)
        try:
            yield process
        finally:
            os.close(self.source)
            if process.poll() is None:
                process.kill()
                process.wait()


def test_the_disk_of_a_journal(tmp_path: Path, disk: Disk) -> None:
    state = disk.folder / "state"
    with shepherd() as (running, ports):
        node = Node(tmp_path, ports, state)
        with node.muster() as process:
            until(lambda: running.musters().get("muster-1"))
            assert running.decide("muster-1", SETTING).result(PATIENCE_S).outcome == "applied"
            assert node.mhz == 1300
            disk.break_()
            # What needs a line in the journal is not done, and ends what was in force.
            answer = running.decide("muster-1", ANOTHER).result(PATIENCE_S)
            assert answer.outcome == "failed"
            assert "nothing was touched" in answer.detail
            assert EIO in answer.detail
            until(lambda: node.mhz == TREE_ORIGINAL)
            answer = running.decide("muster-1", ()).result(PATIENCE_S)
            assert answer.outcome == "failed"
            assert answer.detail.startswith("the node is as it was found, and its journal doesn't know")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 3
        said = node.log.read_text()
        assert EIO in said
        assert "NOT" not in said
        assert "Traceback" not in said
        refused = subprocess.run([*MUSTER, node.config], capture_output=True, text=True, check=False)
        assert refused.returncode == 3
        assert len(refused.stderr.splitlines()) == 1
        assert EIO in refused.stderr
    disk.mend()
    # What it has to put back is what is there; then it has nothing.
    assert [one["knob"] for one in json.loads((state / "originals.json").read_text())["originals"]] == ["dvfs"]
    assert subprocess.run([*MUSTER, node.config, "--restore"], check=False).returncode == 0
    assert json.loads((state / "originals.json").read_text())["originals"] == []
    assert node.mhz == TREE_ORIGINAL


FULL = "No space left on device"


def test_a_journal_without_room(tmp_path: Path, disk: Disk) -> None:
    """What can't be journalled isn't done; what is in force is put back all the same, by whichever life."""
    state = disk.folder / "state"
    with shepherd() as (running, ports):
        node = Node(tmp_path, ports, state)
        with node.muster() as process:
            until(lambda: running.musters().get("muster-1"))
            disk.fill()
            answer = running.decide("muster-1", SETTING).result(PATIENCE_S)
            assert answer.outcome == "failed"
            assert FULL in answer.detail
            assert node.mhz == TREE_ORIGINAL
            disk.empty()
            assert running.decide("muster-1", SETTING).result(PATIENCE_S).outcome == "applied"
            assert node.mhz == 1300
            disk.fill()
            running.stop()
            until(lambda: node.whole == {TREE_ORIGINAL})
            assert process.poll() is None
        # Killed: the next life, without room still, has a node as it was found.
        process.wait(PATIENCE_S)
        done = subprocess.run([*MUSTER, node.config, "--restore"], capture_output=True, text=True, check=False)
        assert node.whole == {TREE_ORIGINAL}, done.stderr
        assert "Traceback" not in node.log.read_text() + done.stderr
    disk.empty()
    assert subprocess.run([*MUSTER, node.config, "--restore"], check=False).returncode == 0
    assert json.loads((state / "originals.json").read_text())["originals"] == []


def test_an_experiment_waits_for_a_disk_that_stands_still(tmp_path: Path, disk: Disk) -> None:
    file, folder = tmp_path / "x.yml", disk.folder / "x"
    file.write_text(definition(musters=1, trials=16, speed=200))

    def finished() -> set[int]:
        with Store.open(folder, read_only=True) as store:
            return {trial.number for trial in store.trials(state=TrialState.FINISHED)}

    run = begin("experiment", "start", file, "--into", folder, "--no-report", folder=folder)
    until((folder / DATABASE).exists)
    until(lambda: len(finished()) > 2)
    before = finished()
    # Beyond a lease, within which nothing of it is on its disk any more.
    disk.hang(LEASE_S + 2)
    code, out, err = run.finish()
    assert code in (0, 1), f"{out}\n{err}"
    assert before < finished()
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    registers = json.loads((folder / "herd/muster-1/state/registers.json").read_text())
    assert registers == {"itr-delay": 1, "dvfs": 2800}


def test_the_disk_of_a_log(tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """Decisions stay, rows wait at their musters, and those that were acknowledged are there when the disk is."""
    logs, count = disk.folder / "x", 400
    text = render(rows(count, 0)).splitlines(keepends=True)
    action = LogAction(action="start", label="by-hand")

    def written() -> int:
        with Ledger(logs / "logs") as ledger:
            return sum(part.rows for part in ledger.parts())

    with caplog.at_level(logging.WARNING), LogWriter(logs) as writer, shepherd(sink=writer) as (running, ports):
        node = Node(tmp_path, ports, tmp_path / "state")
        with node.muster():
            until(lambda: running.musters().get("muster-1"))
            assert running.log("muster-1", action).result(PATIENCE_S).error == ""
            assert running.decide("muster-1", SETTING).result(PATIENCE_S).outcome == "applied"
            node.feed(b"".join(text[: count // 2]))
            until(lambda: written() == count // 2)
            disk.break_()
            node.feed(b"".join(text[count // 2 :]))
            until(lambda: [r for r in caplog.records if "log rows can't be written" in r.getMessage()])
            assert EIO in caplog.text
            assert running.musters()["muster-1"].presence == "alive"
            assert node.mhz == 1300
            running.stop()
            writer.close()
            disk.mend()
            with LogWriter(logs) as again, shepherd(ports, sink=again):
                until(lambda: written() == count)
    assert "Traceback" not in caplog.text


def test_the_disk_of_an_experiment(tmp_path: Path, disk: Disk) -> None:
    file, folder = tmp_path / "x.yml", disk.folder / "x"
    file.write_text(definition(musters=1, trials=40, speed=200))

    def finished() -> dict[int, str]:
        with Store.open(folder, read_only=True) as store:
            return {t.number: repr(sorted(t.metrics.items())) for t in store.trials(state=TrialState.FINISHED)}

    run = begin("experiment", "start", file, "--into", folder, "--no-report", folder=folder)
    until((folder / DATABASE).exists)
    until(lambda: len(finished()) > 2)
    known, children = finished(), run.children
    disk.break_()
    code, _, err = run.finish()
    # 2 would say that nothing was done.
    assert code == 3, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("mustherd: ")
    until(lambda: not any(child.is_running() for child in children))
    disk.mend()
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    after = finished()
    assert {number: after.get(number) for number in known} == known
    code, out, err = run_command("experiment", "resume", folder, "--no-report")
    assert code in (0, 1), f"{out}\n{err}"
    assert {number: finished()[number] for number in after} == after
    registers = json.loads((folder / "herd/muster-1/state/registers.json").read_text())
    assert registers == {"itr-delay": 1, "dvfs": 2800}
