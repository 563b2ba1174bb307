"""A network that lets nothing through, one way or both, and a disk of the rows that stands still."""

import threading
from pathlib import Path
from typing import Any

import pytest

from mustherd.rowlog import parquet
from mustherd.rowlog.ledger import Ledger
from mustherd.rowlog.writer import LogWriter
from mustherd.terms import Setting
from mustherd.wire.keys import create, for_member, for_shepherd
from tests.fakes import ORIGINALS, FakeNode
from tests.herding import PATIENCE_S, muster, shepherd
from tests.log_herd import Wire
from tests.rowlog.test_writer import Blocks
from tests.waiting import until

pytestmark = pytest.mark.herd

SETTING, ANOTHER = (Setting("node-0", "dvfs", 1300),), (Setting("node-0", "dvfs", 1500),)


@pytest.mark.parametrize(
    ("up", "down"),
    [
        pytest.param(True, True, id="both ways"),
        pytest.param(False, True, id="to the muster", marks=pytest.mark.long),
        pytest.param(True, False, id="to the shepherd", marks=pytest.mark.long),
    ],
)
def test_a_node_that_is_cut_off_is_put_back_and_obeys_nothing_late(tmp_path: Path, up: bool, down: bool) -> None:
    keys = tmp_path / "keys"
    create(keys, ["shepherd", "muster-1"])
    node = FakeNode()
    with shepherd(keys=for_shepherd(keys)) as (running, ports):
        wire = Wire(ports)
        try:
            with muster(
                wire.ports, tmp_path / "state", node=node, keys=for_member(keys, "muster-1"), lease_s=1.0
            ) as one:
                until(lambda: running.musters().get("muster-1"))
                assert running.decide("muster-1", SETTING).result(PATIENCE_S).outcome == "applied"
                wire.cut_off(up=up, down=down)
                late = running.decide("muster-1", ANOTHER)
                until(lambda: running.musters()["muster-1"].presence != "alive")
                # Whoever hears no beats gives up by itself; whoever hears them is told, or has what it was told last.
                until(lambda: node.values == ORIGINALS or not down)
                assert late.exception(PATIENCE_S) is not None
                wire.heal()
                until(lambda: running.musters()["muster-1"].presence == "alive")
                # Once both agree it is as it was found: nothing that was on its way is acted on.
                until(lambda: running.musters()["muster-1"].in_force == 0 and node.values == ORIGINALS)
                assert running.decide("muster-1", ANOTHER).result(PATIENCE_S).outcome == "applied"
                assert node.dvfs.value == 1500
                assert one.unrestored == 1
        finally:
            wire.close()
    assert node.values == ORIGINALS


def test_a_shepherd_goes_on_deciding_while_the_disk_of_its_rows_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, goes_on = threading.Event(), threading.Event()
    real = parquet.write

    def write(*words: Any, **named: Any) -> Any:
        stands.set()
        assert goes_on.wait(PATIENCE_S)
        return real(*words, **named)

    monkeypatch.setattr(parquet, "write", write)
    node = FakeNode()
    with LogWriter(tmp_path / "x") as writer, shepherd(sink=writer) as (running, ports):
        with muster(ports, tmp_path / "state", node=node, lease_s=1.0):
            until(lambda: running.musters().get("muster-1"))
            assert running.decide("muster-1", SETTING).result(PATIENCE_S).outcome == "applied"
            blocks = Blocks(writer)
            blocks.text(b"0 1 10\n")
            assert stands.wait(PATIENCE_S)
            for number in range(1, 200):
                blocks.text(b"%d 1 %d\n" % (number, 10 + number))
            # Beats and answers go on, which is what a lease is renewed by.
            until(lambda: running.musters()["muster-1"].answer_ms)
            for setting in (ANOTHER, SETTING, ANOTHER):
                assert running.decide("muster-1", setting).result(PATIENCE_S).outcome == "applied"
            assert node.dvfs.value == 1500
            goes_on.set()
            blocks.flush()
        with Ledger(tmp_path / "x" / "logs") as ledger:
            assert sum(part.rows for part in ledger.parts()) == 200
