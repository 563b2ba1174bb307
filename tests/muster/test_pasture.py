import errno
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd import files
from mustherd.muster import claims
from mustherd.muster.journal import Journal, JournalError, left_changed
from mustherd.muster.pasture import MAX_ERROR_CHARACTERS, ApplyResult, Pasture
from mustherd.node.knob import KnobError
from mustherd.node.ranges import Range
from mustherd.terms import NODE, Setting
from tests.fakes import ORIGINALS, FakeNode, MemoryJournal
from tests.herding import RANGES


class Stand:
    def __init__(self, ranges: dict[str, Range] = RANGES, journal: Journal | None = None) -> None:
        self.node = FakeNode()
        self.journal = MemoryJournal() if journal is None else journal
        self.ranges = ranges
        self.pasture = Pasture(self.node.knobs, ranges, self.journal)

    def apply(self, **values: int) -> ApplyResult:
        return self.pasture.apply([Setting(NODE, name.replace("_", "-"), value) for name, value in values.items()])


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_applied_read_back_and_put_back(stand: Stand) -> None:
    outcome = stand.apply(dvfs=1300, itr_delay=100)
    assert outcome.word == "applied"
    assert {(r.knob, r.asked, r.applied, r.running, r.held) for r in outcome.readings} == {
        ("dvfs", 1300, 1300, 1300, True),
        ("itr-delay", 100, 100, 100, True),
    }
    changed = stand.pasture.changed
    assert changed
    assert all(r.held for r in stand.pasture.restore())
    assert stand.node.values == ORIGINALS
    assert not stand.pasture.changed
    assert {r.asked for r in stand.pasture.readings()} == {None}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ([("dvfs", 1300), ("itr-delay", 401)], "401 is not allowed; allowed: 1, 2..400 us"),
        ([("dvfs", 1300), ("dvfs", 1400)], "named twice"),
        ([("dvfs", 1300), ("fan", 1)], "no knob fan on node-0"),
        ([("dvfs", 1250)], "1250 is not allowed"),
        ([("dvfs", -1)], "not allowed"),
        ([("dvfs", 2**64)], "not allowed"),
    ],
)
def test_out_of_range_is_refused_before_anything_is_touched(
    stand: Stand, settings: list[tuple[str, int]], why: str
) -> None:
    outcome = stand.pasture.apply([Setting(NODE, k, v) for k, v in settings])
    assert outcome.word == "refused"
    assert why in outcome.detail
    assert all(knob.writes == [] for knob in stand.node.knobs)
    assert not stand.pasture.changed


def test_the_musters_own_range_counts_not_the_nodes() -> None:
    stand = Stand({"dvfs": Range(low=1500, high=1700)})
    assert [(i.name, i.low, i.high) for i in stand.pasture.infos] == [("dvfs", 1500, 1700)]
    assert stand.apply(dvfs=1400).word == "refused"
    assert stand.apply(itr_delay=100).word == "refused"
    assert stand.apply(dvfs=1600).word == "applied"
    assert stand.pasture.restore()[0].applied == 2600


def test_a_write_error_puts_everything_back(stand: Stand) -> None:
    stand.node.itr.write_error = KnobError("the adapter is gone")
    outcome = stand.apply(dvfs=1300, itr_delay=100)
    assert outcome.word == "failed"
    assert "the adapter is gone" in outcome.detail
    assert stand.node.dvfs.writes == [1300, 2600]
    assert stand.pasture.unrestored == 1
    assert "the node is NOT as it was found: itr-delay on node-0 was found at 1" in outcome.detail
    stand.node.itr.write_error = None
    stand.pasture.restore()
    assert not stand.pasture.changed


def test_any_error_of_a_driver_is_taken_as_the_knobs(stand: Stand) -> None:
    stand.node.itr.write_error = OSError("x" * 5000)
    outcome = stand.apply(itr_delay=100)
    assert outcome.word == "failed"
    assert len(outcome.detail) < 2 * MAX_ERROR_CHARACTERS + 100
    stand.node.dvfs.read_error = RuntimeError("odd")
    assert [r.error for r in stand.pasture.readings() if r.knob == "dvfs"] == ["odd"]
    assert stand.apply(dvfs=1300).word == "failed"
    assert stand.node.dvfs.writes == []


def test_a_knob_that_reads_otherwise_does_not_hold(stand: Stand) -> None:
    stand.node.dvfs.deaf = True
    (reading,) = [r for r in stand.apply(dvfs=1300).readings if r.knob == "dvfs"]
    assert (reading.asked, reading.applied, reading.held) == (1300, 2600, False)


def test_what_the_newest_decision_does_not_name_is_put_back_first(stand: Stand) -> None:
    stand.apply(dvfs=1300, itr_delay=100)
    outcome = stand.apply(dvfs=1400)
    assert stand.node.values == {"dvfs": 1400, "itr-delay": 1}
    assert {(r.knob, r.asked) for r in outcome.readings} == {("dvfs", 1400), ("itr-delay", None)}
    assert stand.pasture.unrestored == 1
    stand.pasture.restore()
    assert stand.node.values == ORIGINALS


def test_a_left_over_that_does_not_go_back_fails_the_decision(stand: Stand) -> None:
    stand.apply(dvfs=1300, itr_delay=100)
    stand.node.itr.deaf = True
    outcome = stand.apply(dvfs=1400)
    assert outcome.word == "failed"
    assert "it reads 100" in outcome.detail
    assert stand.node.dvfs.value == 2600


def test_settings_at_the_originals_are_in_force_like_any(stand: Stand) -> None:
    outcome = stand.apply(dvfs=2600, itr_delay=1)
    assert outcome.word == "applied"
    assert stand.pasture.changed
    stand.pasture.restore()
    assert not stand.pasture.changed


def test_a_knob_that_settles_for_long_keeps_no_other_from_going_back(stand: Stand) -> None:
    """Its way back waits; one with 30 s had another put back after 30 s."""
    order: list[str] = []
    for knob, settle_s in ((stand.node.itr, 0.0), (stand.node.dvfs, 30.0)):
        knob.info = msgspec.structs.replace(knob.info, settle_seconds=settle_s)
        knob.on_write = lambda _, name=knob.info.name: order.append(name)  # type: ignore[misc]
    stand.apply(dvfs=1300, itr_delay=100)
    order.clear()
    stand.pasture.restore()
    assert order == ["itr-delay", "dvfs"]


def test_what_a_slow_one_changes_on_its_way_back_is_put_back_once_more(stand: Stand) -> None:
    """A driver makes everything anew, a CPU's clock among it, after that was put back and judged."""
    itr, dvfs = stand.node.itr, stand.node.dvfs
    itr.info = msgspec.structs.replace(itr.info, settle_seconds=3.0)
    stand.apply(dvfs=1300, itr_delay=100)
    itr.on_write = lambda _: setattr(dvfs, "value", 1200)
    readings = {reading.knob: reading for reading in stand.pasture.restore()}
    assert (dvfs.value, readings["dvfs"].applied, readings["dvfs"].error) == (2600, 2600, "")


def test_where_a_knob_does_not_say_how_long_it_takes_all_go_back(stand: Stand) -> None:
    stand.apply(dvfs=1300, itr_delay=100)
    stand.node.dvfs.info = msgspec.structs.replace(stand.node.dvfs.info, settle_seconds=None)
    assert [reading.error for reading in stand.pasture.restore()] == ["", ""]


def test_what_cannot_be_put_back_is_kept_counted_and_shouted(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    stand.apply(dvfs=1300, itr_delay=100)
    stand.node.dvfs.write_error = KnobError("locked")
    with caplog.at_level(logging.ERROR):
        readings = stand.pasture.restore()
    assert [(r.knob, r.held, r.error) for r in readings if r.error] == [("dvfs", False, "locked")]
    assert stand.pasture.unrestored == 1
    assert stand.node.itr.value == 1
    assert [r.getMessage() for r in caplog.records] == ["NOT RESTORED: dvfs on node-0 to 2600: locked"]


def test_where_the_journal_can_not_be_written_any_more_it_is_that_which_is_said(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk gives errors: what was set goes back all the same, and nobody is told that it didn't."""

    def broken(_keys: object) -> None:
        raise JournalError("originals.json: cannot write: Input/output error")

    stand.apply(dvfs=1300, itr_delay=100)
    monkeypatch.setattr(stand.journal, "forget", broken)
    left = stand.pasture.left(stand.pasture.restore())
    assert stand.node.values == ORIGINALS
    assert stand.pasture.unrestored == 2
    assert left.startswith("the node is as it was found, and its journal doesn't know")
    assert "Input/output error" in left
    monkeypatch.undo()
    assert stand.pasture.left(stand.pasture.restore()) == ""
    assert not stand.pasture.changed


def test_a_knob_that_is_gone_is_shouted_about_and_stays_journalled(caplog: pytest.LogCaptureFixture) -> None:
    journal = MemoryJournal()
    journal.record({("node-0", "fan"): 3})
    stand = Stand(journal=journal)
    with caplog.at_level(logging.ERROR):
        (reading,) = stand.pasture.restore()
    assert "is gone; it was 3 before" in reading.error
    assert stand.pasture.unrestored == 1


def test_a_former_lifes_knob_is_put_back_even_if_it_is_not_in_the_configuration_any_more() -> None:
    journal = MemoryJournal()
    journal.record({(NODE, "itr-delay"): 1})
    stand = Stand({"dvfs": RANGES["dvfs"]}, journal)
    stand.node.itr.value = 100
    stand.pasture.restore()
    assert stand.node.values == ORIGINALS


def test_an_original_that_could_not_be_written_again_is_not_touched(stand: Stand) -> None:
    stand.node.dvfs.value = 1234
    outcome = stand.apply(dvfs=1300)
    assert outcome.word == "failed"
    assert "is at 1234, which could not be put back" in outcome.detail
    assert stand.node.dvfs.writes == []
    assert not stand.pasture.changed


def test_an_original_that_is_no_whole_number_is_not_touched(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text was journalled, in a journal that nobody could read when it was time to put it back."""
    monkeypatch.setattr(stand.node.dvfs, "read", lambda: "2600")
    outcome = stand.apply(dvfs=1300)
    assert outcome.word == "failed"
    assert outcome.detail.startswith("nothing was touched: dvfs of ")
    assert outcome.detail.endswith("it gives '2600', which is no whole number")
    assert stand.node.dvfs.writes == []
    assert not stand.pasture.changed


@pytest.mark.parametrize(
    ("places", "said"),
    [({"cpu0": 2600}, "it gives 2600 at 'cpu0', which is no text"), ({}, "it gives no place that it lies in")],
)
def test_places_that_are_no_texts_are_not_journalled(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, places: dict[str, object], said: str
) -> None:
    """A number was, in a journal that nobody could read when it was time to put it back; none at all was 0."""
    knob = stand.node.dvfs
    monkeypatch.setattr(knob, "places", lambda: places, raising=False)
    monkeypatch.setattr(knob, "put_back", lambda _places: None, raising=False)
    outcome = stand.apply(dvfs=1300)
    assert outcome.word == "failed"
    assert outcome.detail.startswith("nothing was touched: dvfs of ")
    assert outcome.detail.endswith(said)
    assert knob.writes == []
    assert not stand.pasture.changed


def test_a_knob_that_leaves_by_exit_ends_nobody(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stand.apply(dvfs=1300).word == "applied"
    monkeypatch.setattr(stand.node.dvfs, "write", lambda _value: sys.exit(7))
    [reading] = stand.pasture.restore()
    assert reading.error == "SystemExit: 7"
    assert stand.pasture.unrestored == 1


def test_without_a_journal_nothing_is_touched(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_found: object) -> None:
        raise JournalError("no space")

    monkeypatch.setattr(stand.journal, "record", full)
    outcome = stand.apply(dvfs=1300)
    assert (outcome.word, outcome.detail) == ("failed", "nothing was touched: no space")
    assert stand.node.dvfs.writes == []


def test_originals_are_on_disk_at_the_first_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    stand = Stand(journal=journal)
    seen = []
    for knob in stand.node.knobs:
        knob.on_write = lambda _value: seen.append(
            [
                json.loads((tmp_path / name).read_text())["originals"]
                for name in ("originals.json", "originals.copy.json")
            ]
        )
    stand.apply(dvfs=1300, itr_delay=100)
    journal.close()
    originals = [{"sheep": "node-0", "knob": k, "value": v} for k, v in (("dvfs", 2600), ("itr-delay", 1))]
    assert seen == [[originals, originals]] * 2


@pytest.mark.parametrize("full_at", ["originals.json", "a file beside a lock", "the guardian"])
def test_what_could_be_journalled_in_part_is_taken_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    """No knob was touched, and the next life would have put what was found then over what a person had set since."""
    journal = Journal(tmp_path)
    stand = Stand(journal=journal)
    replace = files.replace

    def full(path: Path, *rest: Any, **more: Any) -> None:
        if path.name == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, *rest, **more)

    def broken(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "note")

    monkeypatch.setattr(files, "replace", full)
    if full_at == "a file beside a lock":
        journal.claim([])
        monkeypatch.setattr(claims.Claims, "keep", broken)
    elif full_at == "the guardian":
        monkeypatch.setattr(journal, "tell", broken)
    assert stand.apply(dvfs=1300).word == "failed"
    assert stand.node.dvfs.writes == []
    # It is known of, tried again, and told as long as it can't be done.
    assert (stand.pasture.changed, stand.pasture.unrestored) == (True, 1)
    assert "its journal doesn't know" in stand.pasture.left(stand.pasture.restore())
    assert stand.pasture.unrestored == 1
    # Nor is the next decision applied, of which neither the locks nor the guardian would know.
    assert stand.apply(dvfs=1300).word == "failed"
    assert stand.node.dvfs.writes == []
    monkeypatch.undo()
    assert stand.pasture.left(stand.pasture.restore()) == ""
    assert not stand.pasture.changed
    journal.close()
    assert left_changed(tmp_path) == {}


def test_where_nothing_could_be_journalled_there_is_nothing_to_take_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    stand = Stand(journal=journal)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    assert stand.apply(dvfs=1300).word == "failed"
    assert not stand.pasture.changed
    journal.close()


def test_what_is_left_where_only_the_locks_know_that_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guardian, or who came next, had the original still, and wrote it over what was set since."""
    journal = Journal(tmp_path)
    stand = Stand(journal=journal)
    journal.claim([])
    told: list[object] = []
    journal.tell = told.append
    stand.apply(dvfs=1300)
    with monkeypatch.context() as patch:
        patch.setattr(claims.Claims, "keep", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full", "note")))
        stand.pasture.restore()
    # In memory there is always room.
    assert (stand.pasture.changed, told[-1]) == (True, {})
    stand.pasture.restore()
    assert (stand.pasture.changed, told[-1]) == (False, {})
    journal.close()


def test_a_range_for_a_knob_that_the_node_lacks_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Stand({"fan": Range(low=1, high=2)})
    assert "fan" in caplog.text
