"""Streams from their source into the spool: passes, pace, thinning, and what is thrown away."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from mustherd.muster.config import LogsTable
from mustherd.muster.logs import PIECE_BYTES, PIECE_CPU_S, Logs
from mustherd.muster.spool import BLOCK_BYTES, Spool, Stored
from mustherd.muster.tap import PERIOD_FIRST_S, PERIOD_MOST_S, Tap
from mustherd.node.intlog import CAPACITY, COLUMNS
from mustherd.node.linux import intlog
from mustherd.node.linux.tree import Tree
from mustherd.node.logger import LoggerError, Rows
from mustherd.wire import messages as m


def line(i: int) -> bytes:
    return b"%d 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 %d\n" % (i, 10**15 + i)


def lines(first: int, count: int) -> bytes:
    return b"".join(line(i) for i in range(first, first + count))


class Source:
    """A driver's buffer: a pass reads it from its start and empties it at its end."""

    stream = "ixgbe-log-core-0"
    columns = COLUMNS
    rewinds = True
    capacity = CAPACITY
    waits = False

    def __init__(self) -> None:
        self.held = b""
        self.at = 0
        self.error: LoggerError | None = None
        self.piece = 10**9

    def read_into(self, room: memoryview) -> int:
        if self.error is not None:
            raise self.error
        part = self.held[self.at : self.at + min(len(room), self.piece)]
        room[: len(part)] = part
        self.at += len(part)
        if not part:
            self.held, self.at = b"", 0
        return len(part)

    def close(self) -> None:
        self.at = 0


class Slow(Source):
    """One that takes all of a go's time for a block."""

    def read_into(self, room: memoryview) -> int:
        until = time.thread_time() + PIECE_CPU_S
        while time.thread_time() < until:
            pass
        return super().read_into(room)


class Stand:
    """A tap with a clock, a source and a spool."""

    def __init__(self, folder: Path, *, every: int = 1, columns: tuple[str, ...] = ()) -> None:
        self.source = Source()
        self.tap = Tap(self.source, again=False)
        self.spool = Spool(folder, 64 * 2**20)
        self.now = 0.0
        self.blocks: list[Stored] = []
        self.tap.open("0001-1", self.now, every=every, columns=columns)

    def work(self) -> None:
        while self.tap.next_pass() <= self.now:
            self.tap.work(self.spool, lambda _n, stored: self.blocks.append(stored), self.now)

    def next_pass(self) -> float:
        self.now = self.tap.next_pass()
        self.work()
        return self.tap.next_pass() - self.now

    @property
    def text(self) -> bytes:
        return b"".join(bytes(self.spool.load(b)) for b in self.blocks)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_a_pass_takes_everything_and_blocks_say_how_lines_go_on(stand: Stand) -> None:
    text = lines(0, 20_000)
    stand.source.held = text
    stand.next_pass()
    assert stand.text == text
    assert len(stand.blocks) > 1
    for before, after in zip(stand.blocks, stand.blocks[1:], strict=False):
        assert after.description.continues == before.unfinished
    assert [b.description.pass_begins for b in stand.blocks] == [True] + [False] * (len(stand.blocks) - 1)
    assert stand.tap.rows == 20_000
    stand.source.held = lines(0, 10)
    stand.next_pass()
    assert stand.blocks[-1].description.pass_begins
    assert not stand.blocks[-1].description.continues
    assert stand.tap.rows == 20_010


def test_the_pace_follows_the_rate_and_stays_within_its_bounds(stand: Stand) -> None:
    for rate, expected in ((1_000, PERIOD_MOST_S), (100_000, 0.3)):
        for _ in range(25):
            before = stand.now
            stand.now = stand.tap.next_pass()
            stand.source.held = lines(0, round(rate * (stand.now - before)))
            stand.work()
        assert stand.tap.next_pass() - stand.now <= expected
        # The buffer is never near its end before the next pass.
        assert (stand.tap.next_pass() - stand.now) * rate < CAPACITY / 4


def test_one_row_in_so_many_and_some_columns(tmp_path: Path) -> None:
    stand = Stand(tmp_path, every=7, columns=("rx_bytes", "timestamp"))
    stand.source.piece = 100_000
    junk = b"not a row\n"
    stand.source.held = lines(0, 9_996) + junk * 7 + lines(10_003, 4)
    stand.next_pass()
    wanted = list(range(0, 10_007, 7))
    found = stand.text.splitlines()
    assert len(found) == len(wanted)
    assert [f for f in found if f != junk.strip()] == [
        b"%d 60 %d" % (k, 10**15 + k) for k in wanted if not 9_996 <= k < 10_003
    ]
    assert stand.blocks[0].description.columns == ("i", "rx_bytes", "timestamp")
    with pytest.raises(ValueError, match="no column nonsense"):
        stand.tap.open("x", 0.0, columns=("nonsense",))


def test_a_full_buffer_is_told_with_the_next_pass(stand: Stand) -> None:
    stand.source.held = lines(CAPACITY - 20, 20)
    stand.next_pass()
    stand.source.held = lines(0, 5)
    stand.next_pass()
    assert [b.description.overrun for b in stand.blocks] == [False, True]


def test_nothing_is_read_that_cannot_be_kept(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.source.held = lines(0, 100)
    with monkeypatch.context() as patch:
        patch.setattr(stand.spool, "begin", lambda *_: False)
        for _ in range(5):
            stand.now = stand.tap.next_pass()
            stand.tap.work(stand.spool, lambda *_: None, stand.now)
    assert stand.source.at == 0
    stand.next_pass()
    assert stand.text == lines(0, 100)


def test_a_source_that_cannot_be_read_says_so_and_is_tried_again(stand: Stand) -> None:
    stand.source.error = LoggerError("the driver is gone")
    stand.next_pass()
    assert stand.tap.error == "the driver is gone"
    stand.source.error = None
    stand.source.held = lines(0, 3)
    stand.next_pass()
    assert stand.text == lines(0, 3)


def finish(logs: Logs, now: float = 0.0) -> None:
    for _ in range(10_000):
        if not logs.taps.busy(now):
            return
        logs.work(now)
    raise AssertionError("it did not come to its end")


def test_flush_open_close_keep_just_what_came_in_between(tmp_path: Path) -> None:
    source = Source()
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)
    source.held = lines(0, 5_000)
    logs.taps.flush((), 0.0)
    finish(logs)
    assert source.held == b""
    logs.taps.open((), "0001-1", 0.0)
    source.held = lines(0, 300)
    logs.taps.close((), 0.0)
    finish(logs)
    assert logs.taps.counts() == ({source.stream: 300}, {})
    assert logs.outbox.last == 1
    assert logs.next_work() == float("inf")
    assert logs.outbox.keep("0001-1", "power", Rows(first=0, columns={"a": (1.0,)})) == 0
    assert logs.outbox.last == 2


def test_what_a_source_holds_is_read_in_one_go_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its bytes are what is looked at; of CPU time a crowded machine takes any amount.
    monkeypatch.setattr("mustherd.muster.logs.PIECE_CPU_S", 600.0)
    source = Source()
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)
    logs.taps.open((), "0001-1", 0.0)
    source.held = lines(0, 3 * PIECE_BYTES // len(line(0)))
    logs.work(PERIOD_FIRST_S)
    assert PIECE_BYTES <= source.at <= PIECE_BYTES + BLOCK_BYTES
    logs.work(PERIOD_FIRST_S)
    logs.work(PERIOD_FIRST_S)
    assert source.at == 0, "the pass has come to its end"


def test_a_source_that_makes_its_rows_slowly_is_left_for_heartbeats_after_a_block(tmp_path: Path) -> None:
    source = Slow()
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)
    logs.taps.open((), "0001-1", 0.0)
    source.held = lines(0, 3 * PIECE_BYTES // len(line(0)))
    logs.work(PERIOD_FIRST_S)
    assert 0 < source.at <= BLOCK_BYTES


def test_of_streams_that_never_end_each_has_its_turn(tmp_path: Path) -> None:
    sources = [Slow() for _ in range(3)]
    for number, source in enumerate(sources):
        source.stream = f"s{number}"
        source.held = lines(0, 3 * PIECE_BYTES // len(line(0)))
    logs = Logs(sources, LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)
    logs.taps.open((), "0001-1", 0.0)
    for rounds in (1, 2, 3):
        logs.work(PERIOD_FIRST_S)
        assert sum(source.at > 0 for source in sources) == rounds


def test_rows_are_not_kept_for_nobody_and_are_kept_for_a_log_until_it_comes_back(tmp_path: Path) -> None:
    source = Source()
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(0, 0.0)
    logs.taps.open((), "x", 0.0)
    source.held = lines(0, 10)
    logs.taps.close((), 0.0)
    finish(logs)
    assert logs.outbox.last == 0
    assert not (tmp_path / "spool").exists()
    numbers = []
    for log, count in ((5, 10), (6, 20), (5, 30)):
        logs.outbox.welcome(log, 0.0)
        logs.taps.open((), "x", 0.0)
        source.held = lines(0, count)
        logs.taps.close((), 0.0)
        finish(logs)
        numbers.append((logs.outbox.spool, logs.outbox.last))
    assert numbers[0][0] == numbers[2][0] != numbers[1][0]
    assert [last for _, last in numbers] == [1, 1, 2]
    logs.leave()
    again = Logs((source,), LogsTable(), tmp_path)
    again.outbox.welcome(5, 0.0)
    assert (again.outbox.spool, again.outbox.last) == numbers[2]
    offers: list[m.Offer] = []

    class End:
        def send_offer(self, offer: m.Offer) -> bool:
            offers.append(offer)
            return True

    again.outbox.ship(End(), 1, 1, 0.0)  # type: ignore[arg-type]
    assert [(o.spool, o.first) for o in offers] == [(numbers[0][0], 1)]
    again.credit(m.Credit(muster_epoch=1, shepherd_epoch=1, spool=again.outbox.spool, ack=2, got=2, window=0), 0.0)
    again.leave()
    assert [f.name for f in (tmp_path / "spool").iterdir()] == [f"{6:014x}"]


@pytest.mark.parametrize("every", [7, 1_000_000])
def test_what_was_left_out_does_not_come_back_after_a_kill(tmp_path: Path, every: int) -> None:
    stand = Stand(tmp_path, every=every)
    stand.source.held = lines(0, 3_000)
    stand.next_pass()
    stand.source.held = lines(3_000, 3_000)
    stand.next_pass()
    # The muster is killed with a block begun that nothing has come for.
    assert stand.spool.begin(stand.blocks[0].description)
    recovered = Spool(tmp_path, 64 * 2**20).recovered
    assert b"".join(bytes(stand.spool.load(stored)) for _, stored in recovered) == stand.text
    assert len(stand.text.splitlines()) == max(1, -(-6_000 // every))


@pytest.mark.parametrize("how", ["close", "flush"])
def test_what_came_before_an_end_was_asked_for_belongs_to_it_even_in_mid_pass(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stand.source.held = lines(0, 10)
    stand.now = stand.tap.next_pass()
    keep = (stand.spool, lambda _n, stored: stand.blocks.append(stored))
    stand.tap.work(*keep, stand.now)
    # The source is at its end and the pass about to be over, when rows come and then the order.
    read_into, called = stand.source.read_into, []

    def over(room: memoryview) -> int:
        called.append(room)
        return 0 if len(called) == 1 else read_into(room)

    monkeypatch.setattr(stand.source, "read_into", over)
    stand.source.held, stand.source.at = lines(0, 7), 0
    (stand.tap.close if how == "close" else stand.tap.flush)(stand.now)
    while stand.tap.busy:
        stand.tap.work(*keep, stand.now)
    assert stand.source.held == b""
    assert stand.text == (lines(0, 10) + lines(0, 7) if how == "close" else lines(0, 10))


def test_orders_by_hand_are_answered_with_what_became_of_them(tmp_path: Path) -> None:
    source = Source()
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)

    def ask(
        action: str, in_use: bool = False, streams: tuple[str, ...] = (), columns: tuple[str, ...] = ()
    ) -> m.Logged:
        order = m.LogOrder(order=1, wanted=m.LogAction(action=action, label="x", streams=streams, columns=columns))
        logs.taps.order(order, 0.0, in_use=in_use)
        finish(logs)
        answer = logs.answer(0.0)
        assert answer is not None
        return answer

    assert "a window" in ask("start", in_use=True).error
    assert "no text stream 'other'" in ask("start", streams=("other",)).error
    assert "no column x" in ask("start", columns=("x",)).error
    assert ask("start").error == ""
    source.held = lines(0, 40)
    stopped = ask("stop")
    assert (stopped.error, stopped.rows, stopped.last_block) == ("", {source.stream: 40}, 1)


def test_intlog_on_files_that_stand_for_the_driver(tmp_path: Path) -> None:
    folder = tmp_path / intlog.FOLDER
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(lines(0, 3))
    os.mkfifo(folder / "10")
    (folder / "README").write_text("")
    found, missing = intlog.find(Tree(tmp_path))
    assert ([log.stream for log in found], missing) == (["ixgbe-log-core-0", "ixgbe-log-core-10"], "")
    plain, fifo = found
    assert (plain.rewinds, fifo.rewinds) == (True, False)
    room = memoryview(bytearray(65536))
    assert plain.read_into(room) == len(lines(0, 3))
    # Emptied with that read: what comes now is the next pass's.
    assert (folder / "0").read_bytes() == b""
    (folder / "0").write_bytes(line(0))
    assert plain.read_into(room) == 0
    assert plain.read_into(room) == len(line(0))
    assert plain.read_into(room) == 0
    writer = os.open(folder / "10", os.O_RDWR)
    os.write(writer, b"1 2")
    assert fifo.read_into(room) == 3
    assert fifo.read_into(room) == 0
    os.close(writer)
    (folder / "0").unlink()
    with pytest.raises(LoggerError, match="ixgbe_stats/core/0: absent"):
        plain.read_into(room)
    assert intlog.find(Tree(tmp_path / "nothing"))[1].startswith("the intlog driver is not loaded")


class Endless(Source):
    """There is always a piece to be read."""

    def __init__(self, *, waits: bool) -> None:
        super().__init__()
        self.waits = waits
        self.next = 0

    def read_into(self, room: memoryview) -> int:
        text = lines(self.next, 1000)
        self.next += 1000
        room[: len(text)] = text
        return len(text)


@pytest.mark.parametrize("waits", [True, False])
def test_a_shepherd_that_is_slower_than_a_source_leaves_rows_there_while_it_can_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setattr("mustherd.muster.logs.HELD_BYTES", 200_000)
    source = Endless(waits=waits)
    logs = Logs((source,), LogsTable(), tmp_path)
    logs.outbox.welcome(5, 0.0)
    logs.taps.open((), "x", 0.0)
    now = 1.0
    for _ in range(5):
        logs.work(now)
    held = m.Credit(muster_epoch=1, shepherd_epoch=1, spool=logs.outbox.spool, ack=0, got=0, window=0)
    logs.credit(held, now)
    read = source.next
    assert read * 60 > 200_000
    for _ in range(50):
        now = max(now, logs.next_work())
        logs.work(now)
    assert source.next == read, "nothing more is read while the shepherd takes some and the source can hold it"
    logs.taps._taps[source.stream]._rows_per_s = CAPACITY
    now += 0.6  # more than half of a buffer has filled up since
    for _ in range(3):
        now = max(now, logs.next_work())
        logs.work(now)
    assert (source.next > read) == (not waits)
    read = source.next
    # All of it is sent.
    logs.credit(msgspec.structs.replace(held, window=2**30), now)
    logs.outbox._flow.due(now)
    logs.credit(
        m.Credit(
            muster_epoch=1,
            shepherd_epoch=1,
            spool=logs.outbox.spool,
            ack=logs.outbox.last,
            got=logs.outbox.last,
            window=2**20,
        ),
        now,
    )
    logs.work(now)
    assert source.next > read
    logs.leave()
