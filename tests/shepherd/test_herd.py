"""A shepherd and musters together, over loopback."""

import logging
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from mustherd.herd.timing import DECISION_GIVE_UP_S, LEASE_S
from mustherd.muster.config import LogsTable
from mustherd.muster.reports import BLOCK_VALUES
from mustherd.node.logger import Rows
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.shepherd import roster
from mustherd.shepherd.events import HerdError, HerdEvent, PresenceChanged, PutBack, StopAsked
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import NODE, Facts, Load, Setting
from mustherd.wire import keys
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests import running as commands
from tests.fakes import ORIGINALS, FakeNode, MemorySink
from tests.herding import ANY, PATIENCE_S, muster, shepherd
from tests.typed import a, some
from tests.waiting import until
from tests.wire.test_codec import HELLO

pytestmark = pytest.mark.herd

SLOW = (Setting(NODE, "dvfs", 1300), Setting(NODE, "itr-delay", 100))
SLOW_VALUES = {"dvfs": 1300, "itr-delay": 100}
WINDOW: dict[str, Any] = {"settle_s": 0.0, "ramp_s": 0.0, "window_s": 0.05, "load": None}


def drained(running: Shepherd) -> list[HerdEvent]:
    events: list[HerdEvent] = []
    while not running.events.empty():
        events.append(running.events.get())
    return events


def test_decide_read_back_measure_and_release(tmp_path: Path) -> None:
    sink = MemorySink()
    with shepherd(sink=sink) as (running, ports):
        node = TwinNode(TwinOptions(speed=200))
        with muster(ports, tmp_path, node=node):
            view = until(lambda: running.musters().get("muster-1"))
            assert [k.name for k in view.knobs] == ["itr-delay", "dvfs"]
            assert view.facts.kind == "twin"
            applied = running.decide("muster-1", SLOW).result(PATIENCE_S)
            assert applied.outcome == "applied"
            assert {r.knob: r.running for r in applied.readings} == SLOW_VALUES
            view = running.musters()["muster-1"]
            assert view.in_force == applied.seq
            assert view.readings == applied.readings
            assert some(view.answer_ms) > 0
            measured = running.measure(
                "muster-1", settle_s=1, ramp_s=5, window_s=30, load=Load(qps=200_000), seed=3
            ).result(PATIENCE_S)
            assert measured.t1_s - measured.t0_s == pytest.approx(30)
            assert measured.in_force == applied.seq
            assert some(measured.load).achieved_qps > 100_000
            assert all(r.held for r in (*measured.before, *measured.after))
            assert sum(e.joules for e in measured.energies if e.kind == "package") > 1000
            assert measured.rows["power-node-0"] >= 29
            until(lambda: sink.blocks and sink.blocks[-1].seq >= measured.last_block)
            assert {b.spool for b in sink.blocks} == {measured.spool}
            assert [b.seq for b in sink.blocks] == list(range(1, len(sink.blocks) + 1))
            assert sum(len(c.columns["dvfs_mhz"]) for c in sink.columns()) == measured.rows["power-node-0"]
            released = running.decide("muster-1", ()).result(PATIENCE_S)
            assert released.outcome == "restored"
            assert {r.knob: r.applied for r in released.readings} == {"itr-delay": 1, "dvfs": 2800}
        until(lambda: running.musters()["muster-1"].presence == "left")
        assert not [e for e in drained(running) if not isinstance(e, PresenceChanged)]


def test_what_was_refused_says_why_and_leaves_the_node_as_it_was_found(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        refused = running.decide("muster-1", (Setting(NODE, "dvfs", 99),)).result(PATIENCE_S)
        assert refused.outcome == "refused"
        assert "99 is not allowed" in refused.detail
        assert node.values == ORIGINALS
        assert running.musters()["muster-1"].in_force == 0


def test_a_newer_decision_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        futures = [running.decide("muster-1", (Setting(NODE, "dvfs", 1200 + 100 * k),)) for k in range(10)]
        wait(futures, PATIENCE_S)
        assert futures[-1].result().outcome == "applied"
        assert node.values == {"dvfs": 2100, "itr-delay": 1}
        for future in futures[:-1]:
            error = future.exception()
            assert error is None or a(HerdError, error).reason == "decision-superseded"


def test_nobody_waits_for_a_muster_that_is_not_there() -> None:
    with shepherd() as (running, _):
        for future in (running.decide("muster-9", SLOW), running.measure("muster-9", **WINDOW)):
            with pytest.raises(HerdError, match="not in the herd") as caught:
                future.result(PATIENCE_S)
            assert caught.value.reason == "muster-unknown"


def test_nobody_waits_for_a_shepherd_that_has_stopped(tmp_path: Path) -> None:
    with shepherd() as (running, ports), muster(ports, tmp_path) as one:
        until(running.musters)
        pending = running.measure("muster-1", **WINDOW | {"window_s": 1000.0})
        until(lambda: one._windows.under_way)
        running.stop()
        later = running.decide("muster-1", SLOW)
        for future in (pending, later):
            with pytest.raises(HerdError) as caught:
                future.result(PATIENCE_S)
            assert caught.value.reason == "shepherd-stopped"
        running.stop()


def test_a_shepherd_that_never_began_can_be_stopped() -> None:
    running = Shepherd(ShepherdEndpoint(ports=ANY))
    waiting = running.decide("muster-1", SLOW)
    running.stop()
    with pytest.raises(HerdError, match="stopped"):
        waiting.result(PATIENCE_S)


def test_futures_cannot_be_cancelled_under_the_shepherds_feet() -> None:
    with shepherd() as (running, _):
        future = running.decide("muster-9", SLOW)
        assert not future.cancel()


def test_many_threads_may_ask_at_once(tmp_path: Path) -> None:
    outcomes = []
    with shepherd() as (running, ports), muster(ports, tmp_path):
        until(running.musters)

        def ask() -> None:
            for _ in range(20):
                try:
                    outcomes.append(running.decide("muster-1", SLOW).result(PATIENCE_S).outcome)
                except HerdError as error:
                    outcomes.append(error.reason)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == 160
    assert set(outcomes) <= {"applied", "decision-superseded"}


def test_a_decision_that_was_published_before_anybody_listened_still_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The muster's hello comes before it subscribes: the first copies go to nobody."""
    node = FakeNode()
    published: list[m.Decision] = []
    publish = ShepherdEndpoint.publish

    def noted(self: ShepherdEndpoint, target: str, decision: m.Decision) -> None:
        publish(self, target, decision)
        published.append(decision)

    monkeypatch.setattr(ShepherdEndpoint, "publish", noted)
    with shepherd() as (running, ports):
        early = MusterEndpoint("muster-1", "127.0.0.1", ports.__class__(ports.pulse, ports.log, 1, 1))
        try:
            until(lambda: early.send_pulse(HELLO))
            until(running.musters)
            future = running.decide("muster-1", SLOW)
            until(lambda: len(published) >= 2)
            assert not future.done()
        finally:
            early.close()
        with muster(ports, tmp_path, node=node):
            with pytest.raises(HerdError) as caught:
                future.result(PATIENCE_S)
            assert caught.value.reason == "muster-restarted"
            assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            assert node.values == SLOW_VALUES


def test_copies_are_sent_until_one_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()
    lost: list[m.Decision] = []
    publish = ShepherdEndpoint.publish

    def lossy(self: ShepherdEndpoint, target: str, decision: m.Decision) -> None:
        if len(lost) < 4:
            lost.append(decision)
        else:
            publish(self, target, decision)

    monkeypatch.setattr(ShepherdEndpoint, "publish", lossy)
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
        assert node.dvfs.writes == [1300]
        assert len({d.seq for d in lost}) == 1


def test_a_new_shepherd_takes_the_muster_in_and_ends_what_was_in_force(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports):
        with muster(ports, tmp_path, node=node, lease_s=60.0):
            until(running.musters)
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            running.stop()
            assert node.values == SLOW_VALUES
            with shepherd(ports) as (successor, _):
                until(successor.musters)
                assert successor.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
                # However soon it was decided, the node was as it was found in between.
                assert node.dvfs.writes == [1300, ORIGINALS["dvfs"], 1300]
                assert successor.musters()["muster-1"].muster_epoch == running.musters()["muster-1"].muster_epoch
        assert node.values == ORIGINALS


def test_a_lease_ends_when_the_shepherd_is_gone(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node, lease_s=1.0):
        until(running.musters)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        running.stop()
        until(lambda: node.values == ORIGINALS)


def test_a_muster_restores_what_its_former_life_left_and_says_so(tmp_path: Path) -> None:
    from mustherd.muster.journal import Journal

    node = FakeNode()
    journal = Journal(tmp_path)
    journal.record({(NODE, "dvfs"): 2600})
    journal.close()
    node.dvfs.value = 1300
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        back = until(lambda: [e for e in drained(running) if isinstance(e, PutBack)])
        assert "former life" in back[0].reason
        assert [r.applied for r in back[0].readings] == [2600]
        assert node.values == ORIGINALS


def test_a_node_whose_knob_will_not_go_back_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = FakeNode()
    with shepherd() as (running, ports):
        with muster(ports, tmp_path, node=node) as one:
            until(running.musters)
            running.decide("muster-1", SLOW).result(PATIENCE_S)
            node.dvfs.write_error = OSError("locked")
            with caplog.at_level(logging.ERROR):
                released = running.decide("muster-1", ()).result(PATIENCE_S)
            assert [r.error for r in released.readings if r.error] == ["locked"]
            until(lambda: running.musters()["muster-1"].unrestored == 1)
        assert one.unrestored == 1
    assert "NOT RESTORED" in caplog.text


def test_a_window_that_breaks_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()

    def broken(*_args: object) -> None:
        raise RuntimeError("no generator here")

    monkeypatch.setattr(node, "start_load", broken)
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        with pytest.raises(HerdError, match="no generator here") as caught:
            running.measure("muster-1", **WINDOW | {"load": Load(qps=1)}).result(PATIENCE_S)
        assert caught.value.reason == "node-error"
        assert running.measure("muster-1", **WINDOW).result(PATIENCE_S).t1_s > 0


def test_a_decision_interrupts_a_window(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        future = running.measure("muster-1", **WINDOW | {"window_s": 1000.0, "load": Load(qps=1)})
        until(lambda: node.loaded)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        with pytest.raises(HerdError) as caught:
            future.result(PATIENCE_S)
        assert caught.value.reason == "window-dropped"
        assert not node.loaded


def test_windows_that_make_no_sense_are_refused_at_once() -> None:
    with shepherd() as (running, _):
        for wrong in ({"window_s": float("nan")}, {"settle_s": -1.0}, {"seed": -1}, {"ramp_s": "soon"}):
            with pytest.raises(ValueError, match="Expected"):
                running.measure("muster-1", **WINDOW | wrong)
        with pytest.raises(ValueError, match="Expected"):
            running.decide("muster-1", (Setting(NODE, "dvfs", 1.5),))  # type: ignore[arg-type]


def test_a_driver_of_blocks_that_fails_does_not_end_the_shepherd(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink()
    sink.error = OSError("disk full")
    node = TwinNode(TwinOptions(speed=500))
    with shepherd(sink=sink) as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        with caplog.at_level(logging.ERROR):
            measured = running.measure("muster-1", **WINDOW | {"window_s": 5.0}).result(PATIENCE_S)
            assert measured.last_block > 0
            until(lambda: "disk full" in caplog.text)
        assert running.decide("muster-1", ()).result(PATIENCE_S).outcome == "restored"


def test_the_herd_over_curve(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys", ["shepherd", "muster-1"])
    own = keys.for_member(tmp_path / "keys", "muster-1")
    with (
        shepherd(keys=keys.for_shepherd(tmp_path / "keys")) as (running, ports),
        muster(ports, tmp_path / "state", keys=own),
    ):
        until(running.musters)
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"


def test_operators_ask_and_set_knobs_by_hand(tmp_path: Path) -> None:
    node = FakeNode()
    with shepherd() as (running, ports), muster(ports, tmp_path, node=node):
        until(running.musters)
        operator = OperatorEndpoint("127.0.0.1", ports.coordinate)
        try:
            done = operator.call(m.KnobsAsk(muster="muster-1", settings=SLOW), PATIENCE_S)
            assert {r.knob: r.applied for r in a(m.Done, done).readings} == SLOW_VALUES
            status = operator.call(m.StatusAsk(), PATIENCE_S)
            (one,) = a(m.Status, status).musters
            assert (one.name, one.presence) == ("muster-1", "alive")
            assert one.in_force > 0
            assert {r.knob: r.applied for r in one.readings} == SLOW_VALUES
            refused = operator.call(m.KnobsAsk(muster="muster-1", settings=(Setting(NODE, "dvfs", 7),)), PATIENCE_S)
            assert "7 is not allowed" in a(m.Refused, refused).reason
            unknown = operator.call(m.KnobsAsk(muster="muster-9", settings=()), PATIENCE_S)
            assert "not in the herd" in a(m.Refused, unknown).reason
            assert isinstance(operator.call(m.KnobsAsk(muster="muster-1", settings=()), PATIENCE_S), m.Done)
            assert node.values == ORIGINALS
            assert operator.call(m.StopAsk(), PATIENCE_S) == m.Done()
            until(lambda: any(isinstance(e, StopAsked) for e in drained(running)))
        finally:
            operator.close()


def test_no_knobs_by_hand_while_an_experiment_runs(tmp_path: Path) -> None:
    with shepherd(experiment="sweep", folder="/somewhere") as (running, ports), muster(ports, tmp_path):
        until(running.musters)
        operator = OperatorEndpoint("127.0.0.1", ports.coordinate)
        try:
            refused = operator.call(m.KnobsAsk(muster="muster-1", settings=SLOW), PATIENCE_S)
            assert "experiment sweep is running" in a(m.Refused, refused).reason
            status = a(m.Status, operator.call(m.StatusAsk(), PATIENCE_S))
            assert (status.experiment, status.folder) == ("sweep", "/somewhere")
            told = commands.here("herd", "status", "--shepherd", f"127.0.0.1:{ports.coordinate}")[1]
            assert told.endswith("experiment sweep runs in /somewhere\n")
        finally:
            operator.close()


def test_the_herd_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(roster, "MAX_MUSTERS", 0)
    with shepherd() as (running, ports):
        one = MusterEndpoint("muster-1", "127.0.0.1", ports)
        try:
            until(lambda: one.send_pulse(HELLO))
            (refusal,) = until(lambda: list(one.receive(0.1)))
            assert "the herd is full" in a(m.Refusal, refusal).reason
            assert running.musters() == {}
        finally:
            one.close()


def test_a_muster_stops_soon_even_when_it_was_refused(tmp_path: Path) -> None:
    with shepherd() as (running, ports), muster(ports, tmp_path) as one:
        until(running.musters)
        one.handle(m.Refusal(version=1, reason="x"))
        began = time.monotonic()
        one.stop()
    assert time.monotonic() - began < 4.0


def test_a_node_that_offers_too_much_is_said_so_at_the_start(tmp_path: Path) -> None:
    from mustherd.muster.config import ConfigError

    node = FakeNode()
    node.facts = Facts(kind="fake", text={"k" * 200: "v"})
    with (
        shepherd() as (_, ports),
        pytest.raises(ConfigError, match="can't be told to a shepherd"),
        muster(ports, tmp_path, node=node),
    ):
        pass


def test_constants_fit_together() -> None:
    assert LEASE_S < DECISION_GIVE_UP_S


def test_a_flood_of_rows_comes_in_blocks_in_order_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    node = FakeNode()
    many = 30 * 2**20 // 9
    sink = MemorySink(durable=False)
    with shepherd(sink=sink) as (running, ports):
        with muster(ports, tmp_path, node=node, logs=LogsTable(spool_mib=16)):
            until(running.musters)
            meter = some(node.meter)
            before = meter.count
            future = running.measure("muster-1", **WINDOW | {"window_s": 0.5})
            # The meter is read first when the window opens, after the flush.
            until(lambda: meter.count != before)
            node.loggers[0].waiting = [Rows(first=0, columns={"a": (1.0,) * many})]
            measured = future.result(PATIENCE_S)
            assert measured.rows == {"rows-node-0": many}
            lost = measured.rows_lost["rows-node-0"]
            # Nobody made anything durable, so it is the spool that was full: of 16 MiB less what lies unused in files.
            assert 13 * 2**20 <= 9 * lost <= 17 * 2**20
            until(lambda: sink.blocks and sink.blocks[-1].seq == measured.last_block)
        rows = sink.columns()
        firsts = [c.first for c in rows]
        assert firsts == sorted(set(firsts))
        assert firsts[:200] == [k * BLOCK_VALUES for k in range(200)]
        assert sum(len(c.columns["a"]) for c in rows) == many - lost
