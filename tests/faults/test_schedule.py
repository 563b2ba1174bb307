"""A seed decides what comes, and what is seen is told apart from what was asked for."""

import signal
import subprocess
import xml.etree.ElementTree as ET
from itertools import islice
from pathlib import Path
from typing import cast

import pytest

from tests.faults import attacks, by_hand, experiment, stall, table
from tests.faults.history import Seen
from tests.faults.member import LEASE_S, Member, Network, unasked_end
from tests.faults.schedule import Kind, schedule
from tests.faults.stall import MOST, Stall

KINDS = [attack.kind for attack in (*attacks.ATTACKS, *experiment.ATTACKS)]


def test_equal_seeds_give_equal_events_and_others_do_not() -> None:
    first, again, other = (list(islice(schedule(seed, KINDS), 100)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_round_has_every_attack_once() -> None:
    events = list(islice(schedule(3, KINDS), 2 * len(KINDS)))
    names = {kind.name for kind in KINDS}
    assert len(names) == len(KINDS)
    assert {event.attack for event in events[: len(KINDS)]} == names
    assert {event.attack for event in events[len(KINDS) :]} == names
    assert [event.number for event in events] == list(range(1, len(events) + 1))


def test_what_is_drawn_is_what_the_attack_allows() -> None:
    kinds = {kind.name: kind for kind in KINDS}
    for event in islice(schedule(5, KINDS), 500):
        kind = kinds[event.attack]
        assert event.target in kind.targets
        assert event.way in kind.ways
        assert kind.seconds[0] <= event.seconds <= kind.seconds[1]


def seen(asked: list[tuple[float, int]], values: list[tuple[float, int]]) -> Seen:
    made = Seen(original=1)
    for at, value in values:
        made.look(at, value)
    made.asked += asked
    return made


def test_values_that_were_asked_for_once_each_are_in_order() -> None:
    asked = [(1.0, 10), (3.0, 20)]
    assert seen(asked, [(0.0, 1), (1.1, 10), (2.0, 1), (3.1, 20)]).faults() == []
    # The same value may be asked for again.
    assert seen([*asked, (5.0, 10)], [(0.0, 1), (1.1, 10), (3.1, 20), (5.1, 10)]).faults() == []


def test_a_decision_that_is_acted_on_twice_late_or_unasked_is_told() -> None:
    asked = [(1.0, 10), (3.0, 20)]
    twice = seen(asked, [(0.0, 1), (1.1, 10), (2.0, 1), (2.5, 10)])
    late = seen(asked, [(0.0, 1), (3.1, 20), (4.0, 10)])
    unasked = seen(asked, [(0.0, 1), (1.1, 11)])
    early = seen(asked, [(0.0, 1), (0.5, 10)])
    assert [len(one.faults()) for one in (twice, late, unasked, early)] == [1, 1, 1, 1]
    assert "which nobody asked for" in unasked.faults()[0]


def test_when_a_node_was_put_back() -> None:
    made = seen([(1.0, 10)], [(0.0, 1), (1.1, 10), (4.0, 1)])
    assert made.back_since(2.0) == 2.0
    assert seen([], [(0.0, 1), (1.1, 10)]).back_since(2.0) is None


def test_the_table_tells_what_was_not_as_expected_and_what_was_not_run() -> None:
    event = {"number": 1, "target": "", "seconds": 0.0, "way": "", "figures": {"back_s": 0.5}}
    told = {
        "seed": 7, "seconds": 90.0, "faults": ["rows are missing"], "figures": {"rows": 5.0},
        "events": [
            {**event, "attack": "a", "faults": []}, {**event, "attack": "b", "faults": ["it is still at 3"]},
        ],
    }  # fmt: skip
    made = [
        experiment.Attack(Kind(name), "all is well", lambda _x, _e: [], (f"tests/t.py::test_{name}",)) for name in "abc"
    ]
    page = "".join(table.lines([told], made))
    assert "| a | 1 | all is well | as expected | put back after 0.5 s | `tests/t.py::test_a` |" in page
    assert "| b | 1 | all is well | it is still at 3 |" in page
    assert "| c | 0 | all is well | not run |" in page
    assert "At the end of 1 herds and experiments: rows are missing" in page


def test_what_the_machine_took_is_the_worst_thread_of_each_that_had_to_act_and_never_all() -> None:
    machine = Stall()
    # Two threads of one process, then others; when, which process and thread, how long.
    machine._lost.extend([(10.0, 1, 1, 0.5), (10.4, 1, 1, 0.25), (10.4, 1, 2, 0.5)])
    machine._lost.extend([(11.0, pid, pid, 0.25) for pid in (2, 3, 4, 5)])
    assert machine.seconds(9.0, 20.0) == 0.75 + 0.25 + 0.25
    assert machine.seconds(10.2, 20.0) == 0.5 + 0.25 + 0.25
    assert machine.seconds(12.0, 20.0) == 0.0
    assert machine.seconds(9.9, 10.9) == MOST * 1.0


def test_the_table_tells_of_fuzz() -> None:
    found = {
        "name": "a port", "inputs": 600_000, "growth_mib": 9.5, "descriptors": 1, "slowest_s": 0.5,
        "faults": [],
    }  # fmt: skip
    page = "".join(table.lines([], [], None, [found, {**found, "inputs": 400_000, "growth_mib": 2.0}]))
    assert "| a port | 1,000,000 | 9.5 MiB | 1 | 0.5 s | as expected |" in page
    page = "".join(table.lines([], [], None, [found, {**found, "faults": ["it | ended"]}]))
    assert "| 0.5 s | it / ended |" in page


def test_the_table_tells_of_attacks_by_hand_and_which_did_not_run() -> None:
    rows = by_hand.numbered("| 1 | a | b | `tests/x/test_y.py::test_z`<br>`tests/x/test_y.py::test_w` |\n")
    report = ET.fromstring(  # noqa: S314 (our own)
        '<r><testcase classname="tests.x.test_y" name="test_z[1]" time="1.5"><properties>'
        '<property name="measured put back after" value="2 s"/></properties></testcase>'
        '<testcase classname="tests.x.test_y" name="test_z[2]" time="0.5"/></r>'
    )
    [came] = by_hand.seen(rows, report)
    assert (came.ran, came.seconds, came.figures) == (2, 2.0, {"put back after": "2 s"})
    assert came.faults == ["tests/x/test_y.py::test_w did not run"]
    page = "".join(table.lines([], [], hand=(rows, by_hand.as_json([came]))))
    assert "| 1 (k7) | a | b | tests/x/test_y.py::test_w did not run | 2 tests in 2 s, put back after 2 s |" in page
    assert "| a | b | not run |" in "".join(table.lines([], [], hand=(rows, [])))


@pytest.mark.parametrize("kind", ["failure", "error", "skipped"])
def test_an_attack_whose_test_fails_or_is_left_out_is_told(kind: str) -> None:
    rows = by_hand.numbered("| 1 | a | b | `tests/x/test_y.py::test_z` |\n")
    case = f'<testcase classname="tests.x.test_y" name="test_z" time="1"><{kind} message="why"/></testcase>'
    [came] = by_hand.seen(rows, ET.fromstring(f"<r>{case}</r>"))  # noqa: S314 (our own)
    assert came.faults == [f"tests/x/test_y.py::test_z: {kind}, why"]


class Ended:
    """A process that has ended."""

    def __init__(self, code: int) -> None:
        self.returncode = code

    def poll(self) -> int:
        return self.returncode


@pytest.mark.parametrize(
    ("ended", "lost_s", "faults"),
    [
        ((-signal.SIGKILL, "its muster has not come round for 2.9 s and was ended"), 0.9 * LEASE_S, 0),
        # The machine had time for it: then it was the muster that had not.
        ((-signal.SIGKILL, "its muster has not come round for 2.9 s and was ended"), 0.1 * LEASE_S, 1),
        ((-signal.SIGKILL, "its muster was killed"), 0.9 * LEASE_S, 1),
        ((-signal.SIGSEGV, "its muster has not come round for 2.9 s and was ended"), 0.9 * LEASE_S, 1),
    ],
)
def test_a_muster_that_its_guardian_ended_is_no_fault_where_the_machine_had_no_time_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: tuple[int, str], lost_s: float, faults: int
) -> None:
    (code, said), log = ended, tmp_path / "log"
    starved: list[str] = []
    line = f"WARNING the guardian has put the node back as it was found: {said}"
    log.write_text(f"INFO welcomed\n{line}\nINFO and on\n")
    one = Member("muster-4", tmp_path, cast("Network", None))
    one.process = cast("subprocess.Popen[bytes]", Ended(code))
    monkeypatch.setattr(stall, "worst_s", lambda _since, _span: lost_s)
    found = unasked_end(one, log, 10.0, starved)
    assert (len(found), len(starved)) == (faults, 1 - faults)
    # Either way it is told what the guardian said.
    assert said in [*found, *starved][0]
