"""A node is put back by the next start and by hand, whatever moment its muster was killed at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.muster import journal
from mustherd.muster import restore as restoring
from mustherd.muster.journal import Journal, JournalError
from mustherd.muster.pasture import UNRESTORED, Pasture
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.ranges import Range
from mustherd.terms import Setting
from tests.node.linux.kinds import ACPI, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine

RANGES = {name: Range(high=10**6) for name in ("itr-delay", "dvfs", "rapl-limit", "ring-size-rx")}
WANTED = {"itr-delay": 250, "dvfs": 1500, "rapl-limit": 70, "ring-size-rx": 1024}

LIVES = """
import os, signal, sys
from pathlib import Path
from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.terms import Setting
from tests.muster.test_restore import RANGES, WANTED, node_of
from tests.node.linux.kinds import KINDS
from tests.node.linux.machine import Machine

def live(folder, kind, moment):
    calls = 0

    def deadly(act):
        def counted(*arguments):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*arguments)
        return counted

    folder.mkdir()
    Machine(kind, folder / 'machine').tree.save()
    machine = Machine(kind, folder / 'machine')
    node = node_of(machine)
    machine.tree.save = deadly(machine.tree.save)
    os.fsync = deadly(os.fsync)
    Path.replace = deadly(Path.replace)
    pasture = Pasture(node.knobs, RANGES, Journal(folder / 'state'))
    assert pasture.apply([Setting('node-0', k, v) for k, v in WANTED.items()]).word == 'applied'
    assert pasture.apply([Setting('node-0', 'dvfs', 1600)]).word == 'applied'

for moment in range(1, 1000):
    child = os.fork()
    if child == 0:
        try:
            live(Path(sys.argv[1]) / str(moment), KINDS[sys.argv[2]], moment)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != -signal.SIGKILL:
        sys.exit(code)
"""


def node_of(machine: Machine) -> LinuxNode:
    return LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool, sleep=lambda _: None)


def values(machine: Machine) -> dict[str, int]:
    return {k.info.name: k.read() for k in node_of(machine).knobs}


@pytest.mark.process
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind is PSTATE else pytest.mark.long) for kind in (LAB, ACPI, PSTATE)],
    ids=lambda kind: kind.name,
)
def test_killed_at_any_moment_of_a_decision(tmp_path: Path, kind: Kind) -> None:
    """Before and after every file that is synced, every rename and every write to the machine."""
    done = subprocess.run(
        [sys.executable, "-c", LIVES, tmp_path, kind.name], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    moments = sorted(int(folder.name) for folder in tmp_path.iterdir())
    assert len(moments) > 20
    untouched = Machine(kind)
    originals = values(untouched)
    changed = 0
    for moment in moments:
        folder = tmp_path / str(moment)
        left = Machine(kind, folder / "machine")
        journal = Journal(folder / "state")
        # In mid-decision its CPUs may differ, which is no single value.
        changed += left.tree.files != untouched.tree.files
        pasture = Pasture(node_of(left).knobs, RANGES, journal)
        pasture.restore()
        assert not pasture.changed
        assert values(left) == originals, f"killed at moment {moment} of {len(moments)}"
        journal.close()
    assert changed > 5


class TestByHand:
    @pytest.fixture
    def machine(self) -> Machine:
        return Machine(LAB)

    @pytest.fixture
    def file(self, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(restoring, "open_node", lambda config, file: node_of(machine))
        file = tmp_path / "muster.toml"
        file.write_text(f'muster = "m"\nstate = "{tmp_path / "state"}"\n[linux]\n[ranges.dvfs]\nhigh = 2000\n')
        return file

    def change(self, machine: Machine, tmp_path: Path, *, claimed: bool = False) -> Journal:
        journal = Journal(tmp_path / "state")
        if claimed:
            journal.claim(node_of(machine).knobs)
        pasture = Pasture(node_of(machine).knobs, RANGES, journal)
        assert pasture.apply([Setting("node-0", k, v) for k, v in WANTED.items()]).word == "applied"
        return journal

    def test_puts_everything_back(self, tmp_path: Path, machine: Machine, file: Path) -> None:
        originals = values(machine)
        self.change(machine, tmp_path).close()
        assert values(machine) != originals
        done = restoring.restore(file)
        assert {r.knob for r in done.readings} == WANTED.keys()
        assert all(r.held for r in done.readings)
        assert done.exit_code == 0
        assert values(machine) == originals
        assert restoring.restore(file).readings == ()

    def test_what_cannot_be_put_back_is_shouted_about_and_kept(
        self, tmp_path: Path, machine: Machine, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.change(machine, tmp_path).close()
        machine.tree.write_faults = {"0x199": 16}
        done = restoring.restore(file)
        assert done.exit_code == UNRESTORED
        (bad,) = [r for r in done.readings if r.error]
        assert "busy" in bad.error
        assert "NOT RESTORED: dvfs on node-0 to 0x2600" in caplog.text
        kept = json.loads((tmp_path / "state/originals.json").read_text())["originals"]
        places = {f"cpu{cpu}": "0x2600" for cpu in range(4)}
        note = f"{machine.tree.root}/run/mustherd/node-0.dvfs.json"
        assert kept == [{"sheep": "node-0", "knob": "dvfs", "value": 0, "places": places, "note": note}]
        machine.tree.write_faults = {}
        assert restoring.restore(file).exit_code == 0

    def test_what_another_has_taken_over_keeps_nothing_else_from_being_put_back(
        self, tmp_path: Path, machine: Machine, file: Path
    ) -> None:
        """It was refused as a whole, with the advice to stop who has the knob that needs nothing any more."""
        originals = values(machine)
        dvfs = [knob for knob in node_of(machine).knobs if knob.info.name == "dvfs"]
        self.change(machine, tmp_path, claimed=True).close()
        other = Journal(tmp_path / "other")
        other.claim(dvfs)
        done = restoring.restore(file)
        assert {r.knob for r in done.readings} == WANTED.keys() - {"dvfs"}
        assert done.exit_code == 0
        assert values(machine) == originals | {"dvfs": 1500}
        assert [*other.originals()] == [("node-0", "dvfs")]
        other.close()

    def test_what_was_done_is_told_though_it_cannot_be_noted(
        self, tmp_path: Path, machine: Machine, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        originals = values(machine)
        self.change(machine, tmp_path).close()
        (tmp_path / "state/put-back.json").mkdir()
        (tmp_path / "state/put-back.json/x").touch()
        done = restoring.restore(file)
        assert values(machine) == originals
        assert ({r.knob for r in done.readings}, done.exit_code) == (set(WANTED), 0)
        assert "put-back.json: cannot write" in caplog.text

    def test_what_is_back_and_still_in_the_journal_is_no_good_end(
        self, tmp_path: Path, machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It ended with 0, and the next one wrote the same values over whatever had been set since."""
        originals = values(machine)
        self.change(machine, tmp_path).close()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            done = restoring.restore(file)
        assert values(machine) == originals
        assert all(r.held for r in done.readings)
        assert done.exit_code == UNRESTORED
        assert done.untold.endswith("originals.copy.json: cannot write: No space left on device")
        again = restoring.restore(file)
        assert (again.exit_code, again.untold) == (0, "")

    def test_not_beside_a_muster_that_runs(
        self, tmp_path: Path, machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = self.change(machine, tmp_path)
        closed = self.closings(monkeypatch)
        with pytest.raises(JournalError, match="another muster"):
            restoring.restore(file)
        assert len(closed) == 1
        journal.close()

    def test_what_the_node_holds_is_let_go(
        self, tmp_path: Path, machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A node of a herd on one machine had started its server for this, and left it and its folder there."""
        self.change(machine, tmp_path).close()
        closed = self.closings(monkeypatch)
        assert restoring.restore(file).exit_code == 0
        assert len(closed) == 1

    def closings(self, monkeypatch: pytest.MonkeyPatch) -> list[LinuxNode]:
        closed: list[LinuxNode] = []

        def close(node: LinuxNode) -> None:
            closed.append(node)

        monkeypatch.setattr(LinuxNode, "close", close)
        return closed

    def test_after_a_reboot_the_machine_has_its_own_values(
        self, tmp_path: Path, machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.change(machine, tmp_path).close()
        (tmp_path / "boot_id").write_text("another\n")
        monkeypatch.setattr(journal, "BOOT_ID", tmp_path / "boot_id")
        assert restoring.restore(file).readings == ()
        assert machine.tree.peep(0, 0x199) >> 8 == 15
