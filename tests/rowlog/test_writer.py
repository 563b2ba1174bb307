"""Blocks become files once each, whatever ends when; and every stream's account says where its rows went.

Everything is seen with both writers of files: ours in C, which `make setup` builds where a compiler is, and Arrow's.
"""

import errno
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mustherd.rowlog import native, parquet
from mustherd.rowlog import writer as lw
from mustherd.rowlog.accounting import BUFFER_FULL, GAP, OTHER_READER, RowAccounting
from mustherd.rowlog.ledger import DRAFT, Ledger
from mustherd.rowlog.parse import BLANK, CUT, LONG, NOT_A_NUMBER, SHORT, TOO_LARGE
from mustherd.rowlog.writer import LogWriter
from mustherd.terms import Facts, Zone
from mustherd.wire import codec
from mustherd.wire import messages as m
from tests.wire.test_codec import HELLO

SPOOL = 99
STREAM = "ixgbe-log-core-3"
NAMES = ("i", "rx_bytes", "timestamp")
PATIENCE_S = 20.0


@pytest.fixture(params=["c", "arrow"], autouse=True)
def _files_by(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "arrow":
            patch.setattr(native, "parser", lambda: None)
            patch.setattr(native, "packer", lambda: None)
        assert (native.packer() is None) == (request.param == "arrow"), "make setup builds it where a compiler is"
        yield


def row(i: int, at: int | None = None) -> bytes:
    return b"%d %d %d\n" % (i, 60 + i, 1000 + 10 * (i if at is None else at))


def rows(first: int, count: int, at: int | None = None) -> bytes:
    return b"".join(row(k, None if at is None else at + k - first) for k in range(first, first + count))


WITHOUT_PANDAS = """
import sys
from pathlib import Path
from mustherd.rowlog.writer import LogWriter
from mustherd.wire import messages as m
with LogWriter(Path(sys.argv[1])) as writer:
    told = {"muster_epoch": 1, "shepherd_epoch": 1, "spool": 9, "label": "x", "stream": "s", "form": "text"}
    for seq in (1, 2):
        rows = b"".join(b"%d %d\\n" % (i, i) for i in range(40_000 * seq, 40_000 * (seq + 1)))
        writer.put("m", m.Block(**told, seq=seq, columns=("i", "timestamp")), memoryview(rows))
    assert writer.flush("m", 9, 2, 60)
    assert writer.accounts("x", "m")["s"].written == 80_000
sys.exit("pandas was imported" if "pandas" in sys.modules else 0)
"""


@pytest.mark.process
def test_rows_are_written_without_the_time_that_pandas_takes_to_import(tmp_path: Path) -> None:
    """Arrow imports it, 0.2 CPU s, for whoever first asks it for a numpy array."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PANDAS, str(tmp_path)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


class Blocks:
    """Numbers blocks as a muster does."""

    def __init__(self, writer: LogWriter, last: int = 0) -> None:
        self.writer = writer
        self.last = last

    def text(self, text: bytes, stream: str = STREAM, muster: str = "m0", **more: Any) -> None:
        self.last += 1
        block = m.Block(
            muster_epoch=1,
            shepherd_epoch=1,
            spool=SPOOL,
            seq=self.last,
            label="0001-1",
            stream=stream,
            form="text",
            columns=NAMES,
            unfinished=not text.endswith(b"\n"),
            **more,
        )
        self.writer.put(muster, block, memoryview(text))

    def columns(self, first: int, **columns: tuple[float, ...]) -> None:
        self.last += 1
        block = m.Block(
            muster_epoch=1,
            shepherd_epoch=1,
            spool=SPOOL,
            seq=self.last,
            label="0001-1",
            stream="power-node-0",
            form="columns",
            columns=(),
        )
        self.writer.put("m0", block, memoryview(codec.encode(m.RowColumns(first=first, columns=columns))))

    def flush(self) -> None:
        assert self.writer.flush("m0", SPOOL, self.last, PATIENCE_S)

    def account(self, stream: str = STREAM) -> RowAccounting:
        self.flush()
        return self.writer.accounts("0001-1", "m0")[stream]


@pytest.fixture
def blocks(tmp_path: Path) -> Iterator[Blocks]:
    with LogWriter(tmp_path) as writer:
        yield Blocks(writer)


def stored(folder: Path, stream: str = STREAM) -> list[int]:
    with Ledger(folder / "logs") as ledger:
        files = [ledger.file(p) for p in ledger.parts(stream=stream) if p.rows]
    return [i for file in files for i in pq.ParquetFile(file).read(["i"]).column(0).to_pylist()]


def test_rows_are_in_files_by_trial_muster_and_stream_once_they_are_durable(blocks: Blocks, tmp_path: Path) -> None:
    blocks.writer.met(
        m.Hello(
            **{
                **{f: getattr(HELLO, f) for f in HELLO.__struct_fields__},
                "muster": "m0",
                "facts": Facts(kind="twin", tsc_khz=2899999),
                "zones": (
                    Zone(name="package-0", kind="package", package=0, joules_per_count=2**-16, counts_per_wrap=2**32),
                ),
            }
        )
    )
    told: list[tuple[str, int, int]] = []
    blocks.writer.attach(lambda *what: told.append(what))
    blocks.text(rows(0, 50), pass_begins=True)
    blocks.text(rows(0, 9), stream="ixgbe-log-core-4", pass_begins=True)
    blocks.columns(0, power_watts=(90.5, 91.0))
    blocks.flush()
    assert told[-1] == ("m0", SPOOL, 3)
    table = ds.dataset(tmp_path / "logs" / "trial=0001-1", format="parquet").to_table()
    assert len(table) == 61
    hive = ds.dataset([str(f) for f in tmp_path.rglob("*core-3/*.parquet")], partitioning="hive").to_table()
    assert set(hive.column("muster").to_pylist()) == {"m0"}
    assert hive.column("row").to_pylist() == hive.column("i").to_pylist() == list(range(50))
    [file] = tmp_path.rglob("*core-3/*.parquet")
    units = json.loads(pq.read_schema(file).metadata[parquet.METADATA])
    assert units == {
        "muster": "m0",
        "stream": STREAM,
        "core": 3,
        "tsc_khz": 2899999,
        "joules_per_count": 2**-16,
        "counts_per_wrap": 2**32,
    }
    assert not list(tmp_path.rglob("*" + DRAFT))


def test_units_that_were_not_reported_are_not_there(blocks: Blocks, tmp_path: Path) -> None:
    blocks.text(rows(0, 2))
    blocks.flush()
    [file] = tmp_path.rglob("*.parquet")
    assert set(json.loads(pq.read_schema(file).metadata[parquet.METADATA])) == {"muster", "stream", "core"}


def test_lines_cut_anywhere_between_blocks_are_whole_again(blocks: Blocks, tmp_path: Path) -> None:
    text = rows(0, 40)
    for at in range(0, len(text), 37):
        blocks.text(text[at : at + 37], pass_begins=at == 0, continues=at > 0)
        if at % 5 == 0:
            blocks.flush()
    account = blocks.account()
    assert stored(tmp_path) == list(range(40))
    assert (account.produced, account.received, account.written) == (40, 40, 40)
    assert (account.malformed, account.lost) == ({}, {})


def test_a_line_that_nobody_finished_is_set_aside(blocks: Blocks, tmp_path: Path) -> None:
    blocks.text(rows(0, 3) + b"3 6")
    blocks.text(rows(4, 3))
    account = blocks.account()
    assert stored(tmp_path) == [0, 1, 2, 4, 5, 6]
    assert account.malformed == {CUT: 1}
    assert account.lost == {}
    assert account.produced == 7
    [aside] = tmp_path.rglob("*" + parquet.MALFORMED)
    assert aside.read_bytes() == b"3 6\n"


MALFORMED = {
    "short": (b"1 61\n", SHORT),
    "long": (b"1 61 1010 7\n", LONG),
    "cut": (b"1 61 10102 62 1020\n", LONG),
    "negative": (b"1 -61 1010\n", NOT_A_NUMBER),
    "over 64 bits": (b"1 18446744073709551616 1010\n", TOO_LARGE),
    "blank": (b"\n", BLANK),
    "binary": (b"\xff\xfe\x81\x1b[2J\n", NOT_A_NUMBER),
    "CRLF": (b"1 61 1010\r\n", NOT_A_NUMBER),
    "repeated header": (b"i rx_bytes timestamp\n", NOT_A_NUMBER),
    "NUL": (b"1 61 10\x0010\n", NOT_A_NUMBER),
}
"""Ten kinds; a line without its end and one of 10 MB have tests of their own."""


@pytest.mark.parametrize("step", [23, 10_000])
def test_every_kind_of_malformed_line_is_counted_and_kept_and_its_neighbours_are_rows(
    blocks: Blocks, tmp_path: Path, step: int
) -> None:
    text = b"".join(rows(10 * k, 10) + line for k, (line, _) in enumerate(MALFORMED.values())) + rows(100, 10)
    for at in range(0, len(text), step):
        blocks.text(text[at : at + step], pass_begins=at == 0, continues=at > 0)
        if at % 7 == 0:
            blocks.flush()
    account = blocks.account()
    assert stored(tmp_path) == list(range(110))
    assert account.malformed == Counter(reason for _, reason in MALFORMED.values())
    assert account.written == 110
    assert account.received == 110 + len(MALFORMED)
    aside = b"".join(f.read_bytes() for f in sorted(tmp_path.rglob("*" + parquet.MALFORMED)))
    assert aside == b"".join(line for line, _ in MALFORMED.values())


def test_a_line_of_ten_megabytes_in_many_blocks_counts_once_and_is_kept(blocks: Blocks, tmp_path: Path) -> None:
    long = b"8" * 10_000_000 + b"\n"
    text = rows(0, 3) + long + rows(3, 3)
    for at in range(0, len(text), 600_000):
        blocks.text(text[at : at + 600_000], continues=at > 0)
        blocks.flush()
    account = blocks.account()
    assert stored(tmp_path) == list(range(6))
    assert account.malformed == {LONG: 1}
    assert account.lost == {}
    assert b"".join(f.read_bytes() for f in sorted(tmp_path.rglob("*" + parquet.MALFORMED))) == long


def test_gaps_are_lost_rows_less_the_malformed_lines_in_them(blocks: Blocks) -> None:
    blocks.text(rows(0, 5) + b"nonsense\n\n" + rows(8, 2))
    blocks.text(b"more nonsense\n" + rows(11, 1))
    blocks.text(b"header\n" + rows(12, 1))
    account = blocks.account()
    assert account.lost == {GAP: 1}
    assert sum(account.malformed.values()) == 4
    assert account.produced == 13
    assert account.written == 9


@pytest.mark.parametrize("seed", range(8))
def test_what_was_produced_was_written_malformed_or_lost(blocks: Blocks, seed: int) -> None:
    """Invariant 7, whatever becomes of each row and wherever blocks are cut."""
    dice = random.Random(seed)
    fates = ["written", *dice.choices(["written", "malformed", "lost"], [6, 2, 2], k=300), "written"]
    texts: dict[str, Callable[[int], bytes]] = {
        "written": lambda n: rows(n, 1),
        "malformed": lambda n: b"%d ?\n" % n,
        "lost": lambda _: b"",
    }
    text, begins = b"".join(texts[fate](n) for n, fate in enumerate(fates)), True
    while text:
        size = dice.randint(1, 400)
        blocks.text(text[:size], pass_begins=begins, continues=not begins)
        text, begins = text[size:], False
        if dice.random() < 0.3:
            blocks.flush()
    account = blocks.account()
    assert account.produced == len(fates) == account.written + sum(account.malformed.values()) + account.rows_lost
    assert Counter(fates) == {
        "written": account.written,
        "malformed": sum(account.malformed.values()),
        "lost": account.rows_lost,
    }


def test_passes_begin_anew_and_another_readers_clear_is_told(blocks: Blocks, tmp_path: Path) -> None:
    blocks.text(rows(0, 10), pass_begins=True)
    blocks.text(rows(0, 10, at=20), pass_begins=True)
    assert blocks.account().lost == {}
    blocks.text(rows(0, 5, at=40) + rows(0, 5, at=60), pass_begins=True)
    account = blocks.account()
    assert account.lost == {OTHER_READER: 1}
    assert (account.passes, account.clears, account.written) == (3, 3, 30)
    [one, two] = [pq.read_table(f).column("row").to_pylist() for f in sorted(tmp_path.rglob("*.parquet"))]
    assert one + two == list(range(30))


def test_a_full_buffer_says_how_much_was_not_logged(blocks: Blocks) -> None:
    blocks.text(rows(0, 100), pass_begins=True)
    blocks.text(rows(0, 10, at=150), pass_begins=True, overrun=True)
    account = blocks.account()
    assert account.lost == {BUFFER_FULL: 50}
    assert account.produced == 160


def test_what_a_muster_reads_again_after_a_restart_is_written_once(blocks: Blocks, tmp_path: Path) -> None:
    blocks.text(rows(0, 10) + row(10)[:5], pass_begins=True)
    blocks.text(rows(0, 20), pass_begins=True, again=True)
    account = blocks.account()
    assert stored(tmp_path) == list(range(20))
    assert account.repeated == 10
    assert account.written == account.produced == 20


def test_one_row_in_so_many_is_no_loss(blocks: Blocks) -> None:
    blocks.text(b"".join(row(k) for k in range(0, 100, 10)), every=10)
    blocks.text(b"".join(row(k) for k in range(110, 150, 10)), every=10)
    account = blocks.account()
    assert account.lost == {GAP: 10}
    assert account.produced == 141


def test_a_machine_that_was_restarted_counts_its_clock_anew(blocks: Blocks) -> None:
    blocks.text(rows(0, 10, at=10**9), pass_begins=True)
    blocks.flush()
    blocks.text(rows(0, 10), pass_begins=True)
    assert blocks.account().written == 20


def test_columns_with_gaps_and_nonsense(blocks: Blocks, tmp_path: Path) -> None:
    blocks.columns(0, a=(1.0, 2.0), b=(3.0, 4.0))
    blocks.columns(5, a=(9.0,), b=(8.0,))
    blocks.columns(6, a=(1.0,), b=())
    blocks.columns(7, other=(1.0,))
    account = blocks.account("power-node-0")
    assert (account.produced, account.written, account.lost) == (8, 4, {GAP: 4})
    tables = [pq.read_table(f) for f in sorted(tmp_path.rglob("*.parquet"))]
    assert [t.column("row").to_pylist() for t in tables] == [[0, 1, 5], [7]] or [
        t.column("row").to_pylist() for t in tables
    ] == [[7], [0, 1, 5]]


def test_a_disk_that_is_full_loses_and_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lw, "RETRY_S", 0.01)
    real, failures = os.fsync, [OSError(errno.ENOSPC, "No space left on device")] * 3

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        real(descriptor)

    with LogWriter(tmp_path) as writer:
        blocks = Blocks(writer)
        monkeypatch.setattr(os, "fsync", fsync)
        blocks.text(rows(0, 10))
        blocks.flush()
    assert stored(tmp_path) == list(range(10))
    assert len([r for r in caplog.records if "can't be written" in r.message]) == 1


@pytest.mark.parametrize("moment", ["before the ledger", "after the ledger"])
def test_a_crash_around_the_commit_neither_loses_nor_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class CrashError(BaseException):
        pass

    writer = LogWriter(tmp_path)
    blocks = Blocks(writer)
    blocks.text(rows(0, 10))
    blocks.flush()

    def crash(*_: object) -> None:
        raise CrashError

    owner, name = (Ledger, "commit") if moment == "before the ledger" else (Path, "rename")
    writer._over = True
    with writer._changed:
        writer._changed.notify_all()
    writer._thread.join()
    block = m.Block(
        muster_epoch=1, shepherd_epoch=1, spool=SPOOL, seq=2, label="0001-1", stream=STREAM, form="text", columns=NAMES
    )
    monkeypatch.setattr(owner, name, crash)
    with pytest.raises(CrashError):
        writer._write("m0", SPOOL, [parquet.ReceivedBlock(block, memoryview(rows(10, 10)))])
    monkeypatch.undo()
    assert list(tmp_path.rglob("*" + DRAFT))
    # A reader sees what was committed, even before the next life puts the names right.
    assert stored(tmp_path) == list(range(10 if moment == "before the ledger" else 20))
    writer.close()
    with LogWriter(tmp_path) as again:
        assert not list(tmp_path.rglob("*" + DRAFT))
        watermark = again.watermark("m0", SPOOL)
        assert watermark == (1 if moment == "before the ledger" else 2)
        following = Blocks(again, watermark)
        following.text(rows(10, 10) if watermark == 1 else rows(20, 1))
        following.text(rows(20, 5) if watermark == 1 else rows(21, 4))
        following.flush()
        assert again.accounts("0001-1", "m0")[STREAM].lost == {}
    assert stored(tmp_path) == list(range(25))


def test_names_from_the_wire_stay_in_the_folder(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        blocks = Blocks(writer)
        for name in ("../../etc", "..", "a/b", ".hidden", "a%2Fb", "späte", "nul\0"):
            blocks.text(rows(0, 1), stream=name)
        blocks.flush()
    assert {f.parent.parent.parent.parent for f in tmp_path.rglob("*.parquet")} == {tmp_path / "logs"}


def test_blocks_that_come_again_are_taken_once(blocks: Blocks, tmp_path: Path) -> None:
    blocks.text(rows(0, 5))
    blocks.last = 0
    blocks.text(rows(0, 5))
    blocks.text(rows(5, 5))
    blocks.flush()
    assert stored(tmp_path) == list(range(10))
    assert not blocks.writer.flush("m0", SPOOL, 99, 0.05)
    assert blocks.writer.flush("m0", 0, 0, 0.0)
