"""The outbox: what becomes of rows where the spool's disk has lost what was on it."""

import shutil
from pathlib import Path

import pytest

from mustherd.muster.config import LogsTable
from mustherd.muster.outbox import Outbox
from mustherd.node.logger import Rows
from mustherd.wire import codec
from mustherd.wire import messages as m

LOG = 5


class End:
    """What was sent."""

    def __init__(self) -> None:
        self.offers: list[tuple[int, int]] = []
        self.blocks: list[tuple[int, int, float]] = []

    def send_offer(self, offer: m.Offer) -> bool:
        self.offers.append((offer.spool, offer.first))
        return True

    def send_block(self, block: m.Block, rows: bytes | memoryview) -> bool:
        value = codec.row_columns(bytes(rows)).columns["a"][0]
        self.blocks.append((block.spool, block.seq, value))
        return True


def keep(outbox: Outbox, value: float) -> None:
    assert outbox.keep("0001-1", "power", Rows(first=0, columns={"a": (value,)})) == 0


def credit(outbox: Outbox, spool: int, number: int) -> None:
    outbox.credit(m.Credit(muster_epoch=1, shepherd_epoch=1, spool=spool, ack=number, got=number, window=10**6), 0.0)


def life(tmp_path: Path) -> Outbox:
    made = Outbox(LogsTable(), tmp_path)
    made.welcome(LOG, 0.0)
    return made


def test_what_comes_after_a_disk_has_lost_blocks_is_not_taken_for_those(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = life(tmp_path)
    keep(first, 1.0)
    shutil.copytree(first.folder, tmp_path / "as it was")
    keep(first, 2.0)
    number = first.spool
    first.leave()
    # The disk, or the machine, loses the second one, which the shepherd has.
    shutil.rmtree(first.folder)
    (tmp_path / "as it was").rename(first.folder)
    again, end = life(tmp_path), End()
    assert (again.spool, again.last) == (number, 1)
    keep(again, 3.0)
    keep(again, 4.0)
    again.ship(end, 1, 1, 0.0)  # type: ignore[arg-type]
    assert end.offers == [(number, 1)]
    credit(again, number, 2)
    assert again.spool != number
    again.ship(end, 1, 1, 0.0)  # type: ignore[arg-type]
    assert end.offers[1:] == [(again.spool, 2)]
    assert [r.levelname for r in caplog.records if "has lost what was written last" in r.getMessage()] == ["ERROR"]
    # As a shepherd answers whoever offers a spool that it doesn't know.
    credit(again, again.spool, 1)
    again.ship(end, 1, 1, 0.0)  # type: ignore[arg-type]
    assert end.blocks == [(again.spool, 2, 3.0), (again.spool, 3, 4.0)]
    again.validate()
    again.leave()
    # And the life after it goes on with that.
    later = life(tmp_path)
    assert (later.spool, later.last) == (end.offers[-1][0], 3)
    later.leave()


def test_a_shepherd_that_says_so_again_and_again_changes_nothing_more(tmp_path: Path) -> None:
    one = life(tmp_path)
    keep(one, 1.0)
    credit(one, one.spool, 7)
    number = one.spool
    for told in range(2, 20):
        credit(one, number, told)
        assert one.spool == number
    credit(one, number, 0)
    end = End()
    one.ship(end, 1, 1, 0.0)  # type: ignore[arg-type]
    assert end.blocks == [(number, 1, 1.0)]
    one.leave()
