"""An original that can't be written back: the outcome, the status, the reports and the exit codes say so."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.api import open as opened
from mustherd.reasons import Reason
from mustherd.report.html import render
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import Store
from mustherd.terms import Setting
from mustherd.trial import TrialState
from mustherd.wire.ports import Ports
from tests import running
from tests.attacks.machines import ORIGINAL_KHZ, LinuxMuster, clock, machine
from tests.herding import PATIENCE_S, shepherd
from tests.node.linux.kinds import CPU
from tests.running import definition, start
from tests.typed import some
from tests.waiting import until

pytestmark = pytest.mark.process

STUCK = "dvfs on node-0 was found at userspace 2900000 and is at "
Stuck = tuple[Shepherd, Ports, LinuxMuster]


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    """A muster whose decision is in force, on a machine of which one CPU takes no clock any more."""
    root = machine(tmp_path / "machine")
    with shepherd() as (herd, ports):
        one = LinuxMuster(tmp_path, ports, root=root).start()
        try:
            until(lambda: herd.musters().get("muster-1"))
            assert herd.decide("muster-1", (Setting("node-0", "dvfs", 1500),)).result(PATIENCE_S).outcome == "applied"
            speed = root / CPU / "cpu3/cpufreq/scaling_setspeed"
            speed.unlink()
            speed.mkdir()
            yield herd, ports, one
        finally:
            one.end()


@pytest.mark.long
def test_a_node_that_can_not_be_put_back_is_named_wherever_anybody_looks(stuck: Stuck) -> None:
    herd, ports, one = stuck
    where = ["--shepherd", f"127.0.0.1:{ports.coordinate}"]
    code, out, err = running.run("knob", "restore", "muster-1", *where)
    assert (code, out) == (3, "")
    assert f"NOT as it was found: {STUCK}" in err
    answer = herd.decide("muster-1", ()).result(PATIENCE_S)
    assert answer.outcome == "failed"
    until(lambda: herd.musters()["muster-1"].unrestored)
    code, out, err = running.run("herd", "status", *where)
    assert f"muster-1: the node is NOT as it was found: {STUCK}" in out
    # It ends with a failure, and the journal keeps what was found.
    some(one.process).terminate()
    assert some(one.process).wait(PATIENCE_S) == 3
    [kept] = json.loads((one.folder / one.name / "originals.json").read_text())["originals"]
    assert set(kept["places"].values()) == {"userspace 2900000"}
    # Once the knob can be written, the next life puts it back.
    speed = one.root / CPU / "cpu3/cpufreq/scaling_setspeed"
    speed.rmdir()
    speed.write_text("1500000\n")
    one.start()
    until(lambda: clock(one.root, 3) == clock(one.root) == ORIGINAL_KHZ)


@pytest.mark.long
def test_an_experiment_whose_node_sticks_fails_and_measures_no_baseline_on_it(tmp_path: Path) -> None:
    run = start(
        tmp_path,
        definition(musters=1, speed=100, trials=40, repeats=2, method="random").replace("every: 10", "every: 2"),
    )
    registers = run.folder / "herd/muster-1/state/registers.json"

    def changed() -> bool:
        return registers.is_file() and json.loads(registers.read_text() or "{}").get("dvfs", 2800) != 2800

    until(changed)
    # From now on nothing that is written to the node arrives.
    stuck = tmp_path / "stuck"
    stuck.mkdir()
    (stuck / "x").touch()

    def swapped() -> bool:
        """The muster may write its file anew between the two."""
        registers.rename(tmp_path / "aside")
        try:
            stuck.rename(registers)
        except NotADirectoryError:
            return False
        return True

    until(swapped)
    code, out, _ = run.finish()
    assert code == 3
    told = json.loads(out)
    assert told["status"] == "failed"
    with Store.open(run.folder, read_only=True) as store:
        [event] = [e for e in store.events() if e.kind == "not-as-found"][-1:]
        assert "muster-1 is NOT as it was found" in event.text
        assert "was found at" in event.text
        trials = store.trials()
    ended = [t for t in trials if t.state is TrialState.FINISHED]
    spoilt = [t for t in trials if t.state is TrialState.INVALID]
    assert {t.reason for t in spoilt} == {Reason.NOT_AS_FOUND}
    assert all("dvfs on node-0 was found at 2800 and is at " in t.detail for t in spoilt)
    assert all(t.ended_at < min(s.ended_at for s in spoilt) for t in ended)
    view = opened(run.folder).view()
    assert "NOT as it was found" in view.detail
    assert "NOT as it was found" in render(view)
    code, out, _ = running.run("experiment", "show", run.folder)
    assert "NOT as it was found" in out
    # A node that takes settings again is put back when the experiment is gone on with, and the baseline counts.
    (registers / "x").unlink()
    registers.rmdir()
    (tmp_path / "aside").rename(registers)
    code, out, _ = running.run("experiment", "resume", run.folder, "--no-report", "--json")
    assert code in (0, 1)
    with Store.open(run.folder, read_only=True) as store:
        assert store.experiment().status == "done"
        assert {t.number for t in spoilt} <= {t.number for t in store.trials(state=TrialState.FINISHED)}
