"""A keeper's folder: bounded, readable while it is written, and there again after a kill."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mustherd.keep import store
from mustherd.keep.beliefs import Belief
from mustherd.keep.events import Decide, Paired, Story
from mustherd.keep.ledger import Day
from mustherd.keep.store import KeepStore, KeepStoreError


def told(number: int) -> list[Story | Decide | Paired]:
    return [
        Story(at_s=float(number), node="a", kind="load", text=f"line {number}"),
        Decide(node="a", number=number, settings={"clock": number}, why="it rose"),
    ]


def test_what_was_written_is_read_beside_the_writer(tmp_path: Path) -> None:
    with KeepStore(tmp_path / "k") as written, KeepStore(tmp_path / "k", read_only=True) as seen:
        written.write(5.0, told(1))
        belief = Belief(node="a", signal="power", settings={"clock": 1}, value=0.1, blocks=3.0, at_s=1.0)
        written.save({"beliefs": [belief]}, [Day(number=7, pairs=2)])
        assert [line.text for line in seen.story()] == ["line 1"]
        assert seen.decisions() == [(5.0, "a", {"clock": 1}, "it rose")]
        assert seen.state("beliefs", list[Belief]) == [belief]
        assert seen.state("bars", list[int]) is None
        assert [(day.number, day.pairs) for day in seen.days()] == [(7, 2)]


def test_the_oldest_lines_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_LINES", 20)
    monkeypatch.setattr(store, "PRUNE_EVERY", 10)
    with KeepStore(tmp_path / "k") as written:
        for number in range(100):
            written.write(float(number), told(number))
        assert len(written.story(1000)) <= 30
        assert written.story()[-1].text == "line 99"


def test_one_keeper_at_a_time(tmp_path: Path) -> None:
    with KeepStore(tmp_path / "k"), pytest.raises(KeepStoreError, match="another keeper runs there"):
        KeepStore(tmp_path / "k")
    with KeepStore(tmp_path / "k"):
        pass


def test_a_folder_without_one_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(KeepStoreError, match="holds no keeper"):
        KeepStore(tmp_path, read_only=True)


def test_what_only_a_stranger_s_database_has_is_refused(tmp_path: Path) -> None:
    with KeepStore(tmp_path / "k"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "k" / store.DATABASE)) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON story BEGIN DELETE FROM day; END")
    for read_only in (True, False):
        with pytest.raises(KeepStoreError, match="it has a trigger 't', which none of ours has"):
            KeepStore(tmp_path / "k", read_only=read_only)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with KeepStore(tmp_path / "k"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "k" / store.DATABASE)) as database, database:
        database.execute("INSERT INTO day VALUES (1, '{')")
        database.execute("INSERT INTO decision VALUES (1, 0.0, 'n', x'00ff', 'why')")
        database.execute("INSERT INTO state VALUES ('load', '[')")
    with KeepStore(tmp_path / "k", read_only=True) as kept:
        for read in (kept.days, kept.decisions, lambda: kept.state("load", int)):
            with pytest.raises(KeepStoreError, match="can't be read") as refused:
                read()
            assert refused.value.exit_code == 2


def test_an_experiment_s_folder_is_no_keeper_s(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    with pytest.raises(KeepStoreError, match="holds an experiment"):
        KeepStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite"]
