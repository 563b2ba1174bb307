"""The keeper's rules, event by event: what it sets, what it never does, and that it says why."""

from itertools import pairwise

import pytest

from mustherd.keep import events as e
from mustherd.keep.guard import LimitWatch
from mustherd.keep.node_state import NodeState
from mustherd.keep.options import Options
from tests.keep.herd import BOOK, HIGH, LOW, OPTIONS, SAFE, Herd


def test_it_sets_the_least_power_that_holds_at_the_load() -> None:
    herd = Herd()
    herd.run(5)
    assert herd.settings["a"] == LOW


def test_between_two_loads_only_what_holds_at_both() -> None:
    herd = Herd()
    herd.load["a"] = 1500.0
    herd.run(5)
    assert herd.settings["a"] == HIGH


def test_beyond_the_book_the_safe_settings() -> None:
    herd = Herd()
    herd.run(5)
    herd.load["a"] = 3000.0
    herd.run(1)
    assert herd.settings["a"] == SAFE


@pytest.mark.parametrize("signal", ["load", "latency"])
def test_a_lost_signal_is_the_safe_settings_and_its_return_the_learnt_ones(signal: str) -> None:
    herd = Herd()
    herd.run(5)
    assert herd.settings["a"] == LOW
    herd.run(4, without=[signal])
    assert herd.settings["a"] == SAFE
    assert f"signal {signal} is lost; safe settings" in herd.stories
    herd.run(5)
    assert herd.settings["a"] == LOW


def test_a_broken_limit_is_the_safe_settings_at_once_and_a_bar_that_doubles() -> None:
    # Where something else holds it is chosen for a day, see test_doubt.
    herd = Herd(book={load: rows[:1] for load, rows in BOOK.items()})
    herd.run(10)
    seen = []
    for _ in range(3):
        herd.latency["a"] = 240.0
        herd.run(1)
        assert herd.settings["a"] == SAFE
        herd.latency["a"] = 90.0
        begun = herd.now
        while herd.settings["a"] != LOW and herd.now < begun + 20_000:
            herd.run(1)
        seen.append(herd.now - begun)
        herd.run(10)
    # The first bar is 600 s, each next one twice as long; what to set is thought over every 30 s.
    assert seen == pytest.approx([600, 1200, 2400], abs=31)


def test_no_two_changes_within_the_settle_time_but_to_safety() -> None:
    herd = Herd()
    before = herd.settings["a"]
    changed: list[tuple[float, dict[str, int]]] = []
    for load in (900, 1500, 900, 1500, 900, 1500, 1500, 900):
        herd.load["a"] = float(load)
        for settings in herd.frames(1):
            if settings["a"] != before:
                changed.append((herd.now, settings["a"]))
                before = settings["a"]
    for (at, _), (then, now) in pairwise(changed):
        assert then - at >= OPTIONS.settle_s or now == SAFE


def test_no_more_than_a_share_of_the_herd_at_once() -> None:
    names = [f"n{i}" for i in range(8)]
    options = Options(limit=200.0, safe=SAFE, baseline=SAFE, controls=0.0, changed=0.25, first_settle_s=2.0)
    herd = Herd(names, options)
    before = dict(herd.settings)
    changes = []
    for settings in herd.frames(20):
        changes.append(sum(settings[n] != before[n] for n in names))
        before = settings
    assert max(a + b for a, b in pairwise(changes)) == 2
    assert all(herd.settings[n] == LOW for n in names)
    herd.run(4, without=["latency"])
    assert all(herd.settings[n] == SAFE for n in names)


def test_a_node_that_left_is_not_decided_for_and_joins_as_it_was_found() -> None:
    herd = Herd()
    herd.run(5)
    herd.act(herd.keeper.handle(e.Left(node="a"), herd.now))
    herd.settings["a"] = {}
    herd.run(5)
    assert herd.settings["a"] == {}
    herd.act(herd.keeper.handle(e.Joined(node="a"), herd.now))
    herd.run(5)
    assert herd.settings["a"] == LOW


def test_what_did_not_hold_is_decided_again_once_it_has_settled() -> None:
    herd = Herd()
    herd.answers = False
    herd.run(1)
    number = herd.keeper.nodes["a"].number
    herd.act(herd.keeper.handle(e.Answered(node="a", number=number, held=False), herd.now))
    herd.settings["a"] = {}
    herd.answers = True
    herd.run(6)
    assert herd.settings["a"] == LOW
    assert any("did not hold" in line for line in herd.stories)


def test_what_can_t_be_set_is_not_asked_for_without_end() -> None:
    assert asked_of_one_that_never_holds(60) <= 60 / OPTIONS.first_settle_s + 1


def test_what_a_node_refuses_is_barred_and_the_reason_told() -> None:
    herd = Herd()
    herd.answers = False
    herd.run(1)
    number = herd.keeper.nodes["a"].number
    refused = e.Answered(node="a", number=number, held=False, refused=True, why="1500 is not allowed")
    herd.act(herd.keeper.handle(refused, herd.now))
    herd.settings["a"] = {}
    herd.answers = True
    herd.run(30)
    assert herd.settings["a"] != LOW, "what was refused was asked for again"
    [line] = [line for line in herd.stories if "refused" in line]
    assert ", barred for 600 s: 1500 is not allowed" in line


def test_refusals_without_end_are_asked_for_ever_more_rarely() -> None:
    assert asked_of_one_that_never_holds(300) <= 10


def asked_of_one_that_never_holds(seconds: int) -> int:
    """How many decisions a node gets that takes none of them."""
    herd = Herd()
    herd.answers = False
    asked = 0
    for _ in range(seconds):
        herd.run(1)
        number = herd.keeper.nodes["a"].number
        asked = max(asked, number)
        herd.act(herd.keeper.handle(e.Answered(node="a", number=number, held=False, why="no"), herd.now))
    return asked


def test_a_node_that_never_takes_anything_is_asked_for_ever() -> None:
    node = NodeState("a", LimitWatch(OPTIONS))
    for number in range(3000):
        node.fail(float(number), OPTIONS, again=True)
    assert node.retry_at == 2999 + OPTIONS.bar_s
