"""The benchmark of verdicts, made short: 24 experiments where confirmation alone is run, six whole ones.

So few fail for what is grossly wrong; by night there are 200 and 48.
"""

import pytest

from mustherd.experiment.calibration import Scatter, calibrate, definition
from mustherd.learn.surfaces import LIMIT, surface
from tests.benchmarks.verdict_calibration import QUICK, ROWS, run

DEAR = ("attacks", "memory", "shared", "waves", "returning", "goals")
"""Groups that take most of the time: by night."""
CHEAP = [name for name in QUICK if name not in DEAR]


def test_each_row_says_what_was_found_what_it_must_be_and_of_how_many_runs() -> None:
    found = run(20, ["unconfirmed"])
    assert (found["runs"], found["passed"]) == (20, True)
    assert isinstance(found["rows"], list)
    assert [set(row) for row in found["rows"]] == [
        {"group", "name", "found", "must_be", "passed", "within", "runs"} for _ in range(2)
    ]
    assert found["rows"][1] == {
        "group": "unconfirmed", "name": "repeats: 0 on a plateau: 'not certain'", "found": 1.0, "must_be": ">= 1",
        "passed": True, "within": True, "runs": 6,
    }  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("runs", [pytest.param(6, marks=pytest.mark.long), pytest.param(48, marks=pytest.mark.night)])
@pytest.mark.timeout(900)
def test_whole_experiments_find_what_can_be_promised_and_the_search_is_not_behind_chance(runs: int) -> None:
    found = run(runs, [name for name in ROWS if name not in QUICK])
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [row for row in rows if not row["passed"]] == []


@pytest.mark.data
@pytest.mark.parametrize(
    ("runs", "groups"),
    [pytest.param(24, CHEAP, marks=pytest.mark.long), pytest.param(200, QUICK, marks=pytest.mark.night)],
)
@pytest.mark.timeout(900)
def test_verdicts_are_right_as_often_as_they_say(runs: int, groups: list[str]) -> None:
    found = run(runs, groups)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [row for row in rows if not row["passed"]] == []


def test_whole_experiments_are_held_against_the_truth() -> None:
    told = []
    for family in ("flat", "bowl"):
        table, default = surface(family, 1)
        told.append((table, definition(table, objective="energy_joules", limits=(LIMIT,), default=default, trials=8)))
    found = calibrate(told, Scatter(noise={"energy_joules": 0.0025, "read_p99_us": 0.012}), seeds=2)
    assert (found.experiments, found.worth, found.met, found.false) == (2, 1, 1, 0)
    assert (found.found, found.covered) == (1.0, 1.0)
