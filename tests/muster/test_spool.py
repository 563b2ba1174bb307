"""The spool: what was read is there again after any end, numbered, within its budget."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.muster import spool as s
from mustherd.muster.spool import Description, Spool, SpoolError

BUDGET = 64 * 2**20
D = Description(label="0001-1", stream="a", form="text", columns=("i", "t"))


def put(spool: Spool, text: bytes, description: Description = D) -> int:
    assert spool.begin(description)
    with spool.room as room:
        text = text[: len(room)]
        room[: len(text)] = text
    number, stored = spool.end(len(text))
    assert bytes(spool.load(stored)) == text
    return number


def content(spool: Spool) -> list[tuple[int, bytes]]:
    return [(number, bytes(spool.load(stored))) for number, stored in spool.recovered]


def test_blocks_come_back_in_order_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    first = Description(label="x", stream="b", form="columns", columns=("c",), every=3, pass_begins=True, again=True)
    assert put(spool, b"1 2\n3", D) == 1
    assert put(spool, b"\0\1", first) == 2
    again = Spool(tmp_path, BUDGET)
    assert content(again) == [(1, b"1 2\n3"), (2, b"\0\1")]
    assert [stored.unfinished for _, stored in again.recovered] == [True, False]
    assert again.recovered[1][1].description == first
    assert again.number == spool.number
    assert put(again, b"4 5\n") == 3


@pytest.mark.parametrize("start", [b"", b"12 "])
def test_what_a_read_put_there_survives_a_kill_before_the_block_is_ended(tmp_path: Path, start: bytes) -> None:
    spool = Spool(tmp_path, BUDGET)
    put(spool, b"1 2\n")
    assert spool.begin(D, start)
    with spool.room as room:
        room[len(start) : len(start) + 6] = b"3 4\n5 "
    for _ in range(2):
        assert content(Spool(tmp_path, BUDGET)) == [(1, b"1 2\n"), (2, start + b"3 4\n5 ")]


def test_a_block_that_was_abandoned_leaves_no_trace(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    assert spool.begin(Description(label="x" * 50, stream="long" * 10, form="text", columns=("i",) * 20), b"start")
    spool.abandon()
    assert spool.begin(D)
    assert content(Spool(tmp_path, BUDGET)) == []


def test_a_reused_file_shows_nothing_of_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    last = 0
    for _ in range(20):
        last = put(spool, b"9" * s.BLOCK_BYTES)
    spool.forget(last)
    assert len(list(tmp_path.glob("*" + s.SUFFIX))) == 1
    assert list(tmp_path.glob("*.spare"))
    while list(tmp_path.glob("*" + s.SUFFIX))[-1].name != f"{last + 1:015d}{s.SUFFIX}":
        assert spool.begin(D)
        if list(tmp_path.glob(f"{last + 1:015d}{s.SUFFIX}")):
            spool.abandon()
            break
        with spool.room as room:
            size = len(room)
            room[:] = b"7" * size
        last, _ = spool.end(size)
    assert spool.begin(D)
    with spool.room as room:
        room[:2] = b"1\n"
    assert content(Spool(tmp_path, BUDGET))[-1] == (last + 1, b"1\n")


def test_blocks_of_files_that_are_no_longer_mapped_are_read_all_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    stored = []
    for k in range(2 * s.MAPPED_SEGMENTS * s.SEGMENT_BYTES // s.BLOCK_BYTES):
        assert spool.begin(D)
        with spool.room as room:
            room[:] = bytes([1 + k % 250]) * len(room)
            stored.append((k, spool.end(len(room))[1]))
        assert len(spool._maps) <= s.MAPPED_SEGMENTS
    assert len(list(tmp_path.glob("*.blocks"))) > s.MAPPED_SEGMENTS
    for k, block in stored:
        assert set(bytes(spool.load(block))) == {1 + k % 250}


def test_a_block_under_way_holds_no_more_memory_than_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    assert spool.begin(D)
    with spool.room as room:
        room[:] = b"x" * len(room)
        _, stored = spool.end(len(room))
    first = tmp_path / f"{1:015d}.blocks"
    with memoryview(spool.load(stored)) as under_way:
        assert resident_bytes(first) >= s.BLOCK_BYTES
        while len(list(tmp_path.glob("*.blocks"))) <= s.MAPPED_SEGMENTS:
            put(spool, b"y" * s.BLOCK_BYTES)
        assert resident_bytes(first) == 0
        assert set(under_way) == {ord("x")}


def resident_bytes(file: Path) -> int:
    """Of a file that is mapped into this process."""
    _, _, of = Path("/proc/self/smaps").read_text().partition(f"{file}\n")
    return int(of.partition("\nRss:")[2].split()[0]) * 1024


def test_numbers_go_on_after_everything_was_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BUDGET)
    for _ in range(30):
        last = put(spool, b"1" * s.BLOCK_BYTES)
        spool.forget(last)
    again = Spool(tmp_path, BUDGET)
    assert again.last == last
    assert put(again, b"1\n") == last + 1


def test_the_budget_is_kept_and_room_comes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 16 * 2**20)
    count = 0
    kept = 0
    while spool.begin(D):
        with spool.room as room:
            size = len(room)
        count, _ = spool.end(size)
        kept += size
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 16 * 2**20 + 4096
    assert kept > 15 * 2**20
    spool.forget(count // 2)
    assert put(spool, b"1\n") == count + 1
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 16 * 2**20 + 4096


def test_a_full_disk_is_no_room_and_nothing_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, BUDGET)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert not spool.begin(D)
    assert put(spool, b"1 2\n") == 1


def test_a_disk_with_room_for_one_file_takes_it_again_when_all_in_it_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, BUDGET)
    real = os.posix_fallocate

    def one_file(descriptor: int, offset: int, size: int) -> None:
        if sum(f.stat().st_size for f in tmp_path.glob("*.blocks")) >= s.SEGMENT_BYTES:
            raise OSError(28, "No space left on device")
        real(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", one_file)
    for _ in range(3):
        while spool.begin(D):
            with spool.room as room:
                size = len(room)
                room[:] = b"7" * size
            last, _ = spool.end(size)
        spool.forget(last - 1)
        assert not spool.begin(D), "one block is not safe yet"
        spool.forget(last)
        assert put(spool, b"1 2\n") == last + 1
        again = Spool(tmp_path, BUDGET)
        assert content(again) == [(last + 1, b"1 2\n")]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.json").mkdir()
    with pytest.raises(SpoolError, match=str(tmp_path)):
        Spool(tmp_path, BUDGET)


@pytest.mark.parametrize("left", [None, "", "{", "[]", '{"spool": "x"}', "\0" * 30])
def test_where_nobody_can_say_whose_blocks_these_are_they_are_set_aside_and_it_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: str | None
) -> None:
    """As a machine that lost its power leaves it, or a disk that broke."""
    folder = tmp_path / "x"
    first = Spool(folder, BUDGET)
    put(first, b"1 2\n")

    def spoil() -> None:
        (folder / "spool.json").unlink()
        if left is not None:
            (folder / "spool.json").write_text(left)

    spoil()
    for _ in range(2):
        again = Spool(folder, BUDGET)
        assert again.number != first.number
        assert content(again) == []
        assert put(again, b"3 4\n") == 1
        spoil()
    assert len([r for r in caplog.records if "is set aside" in r.getMessage()]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.damaged"]


def test_whose_blocks_these_are_is_on_disk_before_the_first_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    Spool(tmp_path / "x", BUDGET)
    assert synced == [str(tmp_path / "x" / ".spool.json.part"), str(tmp_path / "x")]


@given(cut=st.integers(0, 600), junk=st.binary(max_size=40))
def test_a_damaged_file_gives_the_blocks_before_the_damage(
    cut: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, BUDGET)
    texts = [b"%d 1\n" % k * 10 for k in range(5)]
    for text in texts:
        put(spool, text)
    [file] = folder.glob("*" + s.SUFFIX)
    damaged = bytearray(file.read_bytes())
    damaged[cut : cut + len(junk)] = junk
    file.write_bytes(damaged)
    found = Spool(folder, BUDGET).recovered
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
