"""One odd block is its own stream's trouble: set aside, counted, said once; everybody else's rows become durable."""

from pathlib import Path
from typing import Any

import pytest

from mustherd.daemon import Stop
from mustherd.experiment import serve as serving
from mustherd.rowlog.ledger import DRAFT, Ledger
from mustherd.rowlog.parquet import MALFORMED
from mustherd.rowlog.parse import ODD, ORDER
from mustherd.rowlog.writer import LogWriter
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.ports import Ports

PATIENCE_S = 20.0
ROWS = b"0 1\n1 2\n2 3\n"


def block(seq: int, stream: str = "s", form: str = "text", spool: int = 7, **more: Any) -> m.Block:
    given: dict[str, Any] = {"columns": ("i", "timestamp"), **more}
    return m.Block(
        muster_epoch=1, shepherd_epoch=1, spool=spool, seq=seq, label="0001-1", stream=stream, form=form, **given
    )


def columns(first: int, **values: tuple[float, ...]) -> bytes:
    return codec.encode(m.RowColumns(first=first, columns=values))


def put(writer: LogWriter, muster: str, one: m.Block, rows: bytes = ROWS) -> None:
    # What can't come over the wire is no odd block.
    codec.block(codec.encode(one))
    writer.put(muster, one, memoryview(rows))


ODD_BLOCKS = {
    "a name too long once quoted": (block(1, "é" * 100), ROWS),
    "a column twice": (block(1, columns=("i", "i")), ROWS),
    "a column named row": (block(1, columns=("row", "i")), ROWS),
    "a column named as a folder above it": (block(1, columns=("muster", "i")), ROWS),
}


@pytest.mark.parametrize("what", ODD_BLOCKS)
def test_it_is_set_aside_byte_for_byte_and_counted(tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    one, rows = ODD_BLOCKS[what]
    with LogWriter(tmp_path) as writer:
        put(writer, "bad", one, rows)
        put(writer, "good", block(1))
        assert writer.flush("good", 7, 1, PATIENCE_S)
        assert writer.flush("bad", 7, 1, PATIENCE_S)
        account = writer.accounts("0001-1", "bad")[one.stream]
        # Its next blocks and other streams are as good as ever.
        put(writer, "bad", block(2, "other"))
        assert writer.flush("bad", 7, 2, PATIENCE_S)
        assert writer.accounts("0001-1", "bad")["other"].written == 3
        assert writer.accounts("0001-1", "good")["s"].written == 3
    assert (account.malformed, account.received, account.written) == ({ODD: 3}, 3, 0)
    with Ledger(tmp_path / "logs") as ledger:
        [part] = ledger.parts(muster="bad", stream=one.stream)
        assert part.path.endswith(MALFORMED)
        assert ledger.file(part).read_bytes() == rows
    assert not list(tmp_path.rglob("*" + DRAFT))
    assert caplog.text.count("are set aside") == 1


def test_columns_of_a_block_that_can_not_be_are_set_aside_and_the_stream_goes_on(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        put(writer, "bad", block(1, form="columns", columns=()), columns(0, row=(1.0,)))
        put(writer, "bad", block(2, form="columns", columns=()), columns(0, watts=(90.0, 91.0)))
        assert writer.flush("bad", 7, 2, PATIENCE_S)
        account = writer.accounts("0001-1", "bad")["s"]
    assert account.written == 2
    assert sum(account.malformed.values()) == 1


def test_a_line_that_was_cut_before_it_is_counted_too(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        put(writer, "bad", block(1, unfinished=True), b"0 1\n1 ")
        assert writer.flush("bad", 7, 1, PATIENCE_S)
        put(writer, "bad", block(2, columns=("i", "i"), continues=True), b"2\n")
        assert writer.flush("bad", 7, 2, PATIENCE_S)
        account = writer.accounts("0001-1", "bad")["s"]
    assert account.written == 1
    assert account.received == account.written + sum(account.malformed.values())


def test_a_spool_that_was_lost_begins_anew_beside_the_one_before(tmp_path: Path) -> None:
    """Its blocks have the numbers, and so the file names, of the first one's."""
    with LogWriter(tmp_path) as writer:
        for spool in (7, 8, 9):
            put(writer, "m0", block(1, spool=spool))
            assert writer.flush("m0", spool, 1, PATIENCE_S)
        assert writer.accounts("0001-1", "m0")["s"].written == 9
    with Ledger(tmp_path / "logs") as ledger:
        assert len({ledger.file(part) for part in ledger.parts() if ledger.file(part).exists()}) == 3


@pytest.mark.parametrize("number", [2**64 - 1, 2**63, 2**62, 10**15, 2 * 10**9])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("begins", [False, True])
def test_a_number_that_no_row_can_have_makes_no_rows(tmp_path: Path, number: int, place: int, begins: bool) -> None:
    lines = [b"%d %d\n" % (k, 10 + k) for k in range(3)]
    lines[place] = b"%d %d\n" % (number, 10 + place)
    with LogWriter(tmp_path) as writer:
        put(writer, "m0", block(1, pass_begins=begins), b"".join(lines))
        put(writer, "m0", block(2), b"3 20\n4 21\n")
        assert writer.flush("m0", 7, 2, PATIENCE_S)
        account = writer.accounts("0001-1", "m0")["s"]
    lost = sum(account.lost.values())
    assert 0 <= account.produced < 100
    assert 0 <= lost < 100
    assert account.written + account.malformed.get(ORDER, 0) == 5


def test_a_number_of_columns_that_can_not_be_makes_no_rows(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        for seq, first in enumerate((0, 2**53 - 1, 1), 1):
            put(writer, "m0", block(seq, form="columns", columns=()), columns(first, watts=(90.0,)))
        assert writer.flush("m0", 7, 3, PATIENCE_S)
        account = writer.accounts("0001-1", "m0")["s"]
    assert account.written == 3
    assert account.produced == account.written + sum(account.lost.values()) < 10


def test_a_batch_that_can_not_be_booked_is_set_aside_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Ledger.commit, []

    def commit(self: Ledger, muster: str, *rest: object) -> None:
        calls.append(muster)
        if calls.count("bad") == 1 and muster == "bad":
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        real(self, muster, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "commit", commit)
    with LogWriter(tmp_path) as writer:
        put(writer, "bad", block(1))
        put(writer, "good", block(1))
        assert writer.flush("bad", 7, 1, PATIENCE_S)
        assert writer.flush("good", 7, 1, PATIENCE_S)
        assert writer.accounts("0001-1", "bad")["s"].malformed == {ODD: 3}
        assert writer.accounts("0001-1", "good")["s"].written == 3
        assert not writer.broken


def test_a_writer_that_breaks_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(Ledger, "commit", commit)
    told: list[str] = []
    with LogWriter(tmp_path, broken=told.append) as writer:
        put(writer, "m0", block(1))
        # Not at the end of its patience.
        assert not writer.flush("m0", 7, 1, 1e9)
    assert told[0].startswith("log rows are no longer written: the machine gives no more memory")


@pytest.mark.herd
def test_a_shepherd_whose_writer_broke_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: LogWriter) -> None:
        raise RuntimeError("it fell over")

    monkeypatch.setattr(LogWriter, "_work", work)
    with pytest.raises(
        serving.BrokenError, match=r"log rows are no longer written: RuntimeError: it fell over"
    ) as caught:
        serving.serve(
            None,
            logs_folder=tmp_path,
            listen="127.0.0.1",
            ports=Ports(0, 0, 0, 0),
            keys_folder=None,
            expected=1,
            stop=Stop(),
        )
    assert caught.value.exit_code == 3


@pytest.mark.herd
def test_a_shepherd_whose_own_loop_broke_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from mustherd.shepherd.server import ShepherdServer

    def tick(*_: object, **__: object) -> None:
        raise RuntimeError("it fell over")

    monkeypatch.setattr(ShepherdServer, "tick", tick)
    with pytest.raises(serving.BrokenError, match=r"the shepherd's loop broke: RuntimeError: it fell over"):
        serving.serve(
            None,
            listen="127.0.0.1",
            ports=Ports(0, 0, 0, 0),
            keys_folder=None,
            expected=1,
            stop=Stop(),
        )
