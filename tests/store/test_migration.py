"""A folder that the version before wrote: read as it is, gone on with as one of today, or refused with what to do."""

import contextlib
import hashlib
import json
import sqlite3
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from mustherd.goal import Constraint, Goal, Objective
from mustherd.metrics import Direction
from mustherd.report.html import render
from mustherd.report.view import View
from mustherd.store import database, migration, schema
from mustherd.store.errors import OwnedError, StoreError
from mustherd.store.store import DATABASE, DEFINITION, LOGS, Store
from mustherd.terms import Facts
from mustherd.trial import Trial, TrialState
from tests import running

DATA = Path(__file__).parent / "data"
GOAL = Goal(
    objectives=(Objective("energy_joules", Direction.LESS),),
    limits=(Constraint("read_p99_us", 500.0),),
    guard=0.98,
    margin=0.05,
    loads=(400e3, 600e3),
    repeats=1,
    rounds=8,
    parallel=2,
    seed=1,
)


def folder_of(version: int, folder: Path, change: str = "", *values: object) -> Path:
    """A folder as a version wrote it, and changed by a statement of SQL with `values`."""
    folder.mkdir()
    (folder / LOGS).mkdir()
    with sqlite3.connect(folder / DATABASE) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.executescript((DATA / f"version-{version}.sql").read_text())
        made.execute(change, values)
        [text] = made.execute("SELECT definition FROM experiment").fetchone()
    made.close()
    (folder / DEFINITION).write_text(text)
    return folder


def folder_of_2(folder: Path, change: str = "", *values: object) -> Path:
    return folder_of(2, folder, change, *values)


def state_of(folder: Path) -> dict[str, str]:
    """Every file's digest; SQLite's own index of a log, which readers share, is none of what is stored."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.stat().st_size}


def columns(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Table to its columns: name, type, whether it must have a value, its default, whether it is computed."""
    with sqlite3.connect(path) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        found = {table: {row[1:] for row in opened.execute(f"PRAGMA table_xinfo({table})")} for table in tables}
    opened.close()
    return found


def check(store: Store) -> None:
    """What the folder says is what it said to the version that wrote it."""
    assert store.experiment().goal == GOAL
    trials = store.trials()
    assert [(t.number, t.attempt, t.state.value, t.reason) for t in trials[4:8]] == [
        (5, 1, "invalid", "shepherd-died"), (5, 2, "finished", ""),
        (6, 1, "invalid", "shepherd-died"), (6, 2, "finished", ""),
    ]  # fmt: skip
    assert {t.load.qps for t in trials if t.load} == {400e3, 600e3}
    for trial in trials:
        if trial.state is TrialState.FINISHED:
            assert trial.load_report is not None
            assert trial.load_report.offered_qps == pytest.approx(trial.qps, rel=0.01)
            assert trial.metrics["achieved_qps"] == trial.load_report.achieved_qps
    facts = store.musters()["muster-1"].facts
    assert (facts.kind, facts.cores, facts.loads_itself) == ("twin", 16, True)
    assert facts.text["profile"] == "c6220"


def test_what_is_only_read_is_not_written(tmp_path: Path) -> None:
    folder = folder_of_2(tmp_path / "old")
    before = state_of(folder)
    with Store.open(folder, read_only=True) as store:
        check(store)
        assert "earlier" in render(View.of(store))
        assert store.data_version() == store.data_version()
    assert state_of(folder) == before
    with sqlite3.connect(folder / DATABASE) as made:
        assert made.execute("PRAGMA user_version").fetchone() == (2,)
    made.close()


def test_what_is_gone_on_with_becomes_a_folder_of_today(tmp_path: Path) -> None:
    folder = folder_of_2(tmp_path / "old")
    with Store.open(folder) as store:
        check(store)
        told = store.events()[-1]
        assert (told.kind, told.data) == ("migrated", {"from": 2, "to": schema.VERSION})
        store.requeue_running()
    with Store.open(folder) as store:
        assert [event.kind for event in store.events()].count("migrated") == 1
        trial = store.start(store.trials(state=TrialState.QUEUED)[0], "muster-1")
        like = next(t for t in store.trials(state=TrialState.FINISHED) if t.qps == trial.qps)
        trial.state, trial.metrics, trial.load_report = TrialState.FINISHED, like.metrics, like.load_report
        store.finish(trial)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    database.make_database(fresh / DATABASE).close()
    assert columns(folder / DATABASE) == columns(fresh / DATABASE)
    with Store.open(folder, read_only=True) as store:
        check(store)


def test_a_folder_of_the_version_before_is_read_and_gone_on_with(tmp_path: Path) -> None:
    folder = folder_of(3, tmp_path / "old")
    before = state_of(folder)
    with Store.open(folder, read_only=True) as store:
        assert store.experiment().goal.loads == (400e3, 600e3)
        trials = store.trials()
        assert sum(trial.state is TrialState.FINISHED for trial in trials) >= 6
        assert {(trial.round, trial.place) for trial in trials} == {(0, "")}
        assert "before" in render(View.of(store))
    assert state_of(folder) == before
    with Store.open(folder) as store:
        assert store.events()[-1].data == {"from": 3, "to": schema.VERSION}
        assert store.trials() == trials
        store.requeue_running()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    database.make_database(fresh / DATABASE).close()
    assert columns(folder / DATABASE) == columns(fresh / DATABASE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("every planned trial has run", "trials"),
        ("the budget of 4 minutes is used up, but for the confirmation", "budget-minutes"),
        ("the budget of 9000 J is used up, but for the confirmation", "budget-joules"),
        ("no more than 2 % is to be expected: it is lost in the noise", "policy"),
    ],
)
def test_why_the_search_ended_becomes_data(tmp_path: Path, text: str, why: str) -> None:
    change = "INSERT INTO event (at, kind, text, data) VALUES (1, 'search-over', ?, '{}')"
    with Store.open(folder_of_2(tmp_path / "old", change, f"the search is over: {text}"), read_only=True) as store:
        event = store.last_event("search-over")
        assert event is not None
        assert event.data == {"why": why, "text": text}
        assert View.of(store).verdict().search_ended == text


@pytest.mark.parametrize(
    ("was", "detail", "code"),
    [
        ("misses", "3 of 4", "cache-misses"),
        ("stopped", "x", "run-ended"),
        ("superseded", "x", "decision-superseded"),
        ("interrupted", "muster muster-1: the shepherd changed", "window-dropped"),
        ("interrupted", "the shepherd that ran it ended before the trial did", "shepherd-died"),
        ("knob-not-held", "x", "knob-not-held"),
        ("of-a-fork", "x", "of-a-fork"),
    ],
)
def test_a_reason_code_becomes_the_one_that_means_it_today(tmp_path: Path, was: str, detail: str, code: str) -> None:
    change = "UPDATE trial SET reason = ?, detail = ? WHERE number = 5 AND attempt = 1"
    with Store.open(folder_of_2(tmp_path / "old", change, was, detail), read_only=True) as store:
        assert store.trial(5, 1).reason == code


@pytest.mark.parametrize(
    ("resolved", "goal"),
    [
        ({}, Goal()),
        ({"objective": "achieved_qps", "gates": {"achieved_ratio": 0}},
         Goal(objectives=(Objective("achieved_qps", Direction.MORE),), guard=0.0)),
        ({"objectives": ["power_watts", "achieved_qps"], "constraints": ["misses >= 3"], "workload": {"qps": 5.0}},
         Goal(objectives=(Objective("power_watts", Direction.LESS), Objective("achieved_qps", Direction.MORE)),
              limits=(Constraint("misses", 3.0, True),), loads=(5.0,))),
        ({"constraints": ["achieved_ratio >= 0.5"], "gates": {"achieved_ratio": 0.9}}, Goal(guard=0.5)),
    ],
)  # fmt: skip
def test_the_goal_is_what_version_2_read_in_the_definition(
    tmp_path: Path, resolved: dict[str, Any], goal: Goal
) -> None:
    folder = folder_of_2(tmp_path / "old", "UPDATE experiment SET resolved = ?", json.dumps(resolved))
    with Store.open(folder, read_only=True) as store:
        assert store.experiment().goal == goal


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE experiment SET resolved = '{"constraints": ["nonsense"]}'""",
        """UPDATE experiment SET resolved = '{"constraints": ["read_p99_us < 500"]}'""",
        """UPDATE experiment SET resolved = '[1]'""",
        """UPDATE experiment SET resolved = '{"gates": {"achieved_ratio": 98}}'""",
        """UPDATE muster SET facts = '[3]'""",
    ],
)
def test_what_can_not_be_understood_is_refused_and_left_as_it_was(tmp_path: Path, change: str) -> None:
    folder = folder_of_2(tmp_path / "old", change)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"can't be brought to version 4: .*; open it with the version of must"):
            Store.open(folder, read_only=read_only)
        with sqlite3.connect(folder / DATABASE) as made:
            assert made.execute("PRAGMA user_version").fetchone() == (2,)
            assert "demand" in {row[1] for row in made.execute("PRAGMA table_info(trial)")}
        made.close()


@pytest.mark.parametrize("version", [0, 1, schema.VERSION + 1])
def test_another_version_is_refused_with_what_to_do(tmp_path: Path, version: int) -> None:
    folder = folder_of_2(tmp_path / "old", f"PRAGMA user_version = {version}")
    for read_only in (True, False):
        with pytest.raises(StoreError, match=rf"has tables of version {version}, this program reads versions 2 to 4"):
            Store.open(folder, read_only=read_only)


def test_a_folder_that_somebody_runs_is_not_changed_under_them(tmp_path: Path) -> None:
    folder = folder_of_2(tmp_path / "old")
    with Store.open(folder_of_2(tmp_path / "other")) as other:
        other.folder = folder
        with other.own(), pytest.raises(OwnedError):
            Store.open(folder)
    with Store.open(folder, read_only=True) as store:
        check(store)


def test_every_version_from_the_oldest_on_has_its_step() -> None:
    assert sorted(migration._STEPS) == list(range(migration.OLDEST, schema.VERSION))


@pytest.mark.long
@pytest.mark.process
def test_an_experiment_that_the_version_before_began_is_finished(tmp_path: Path) -> None:
    folder = folder_of_2(tmp_path / "old")
    kept: dict[int, Trial] = {}
    with Store.open(folder, read_only=True) as store:
        kept = {t.number: t for t in store.trials(state=TrialState.FINISHED)}
    code, out, err = running.run("experiment", "resume", folder, "--json")
    assert code in (0, 1), err
    assert {row["qps"] for row in json.loads(out)["loads"]} == {400e3, 600e3}
    with Store.open(folder, read_only=True) as store:
        assert store.experiment().status == "done"
        found = {t.number: t for t in store.trials(state=TrialState.FINISHED)}
        assert {number: found[number] for number in kept} == kept
        assert len(found) > len(kept)
        assert store.trial(9, 1).reason == "shepherd-died"


@pytest.mark.process
def test_a_definition_that_means_something_else_today_is_not_gone_on_with(tmp_path: Path) -> None:
    change = "UPDATE experiment SET resolved = json_set(resolved, '$.gates.miss_ratio', 0.5)"
    folder = folder_of_2(tmp_path / "old", change)
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as made:
        (was,) = made.execute("SELECT versions ->> 'mustherd' FROM experiment").fetchone()
    code, _, err = running.run("experiment", "resume", folder)
    assert code == 2
    assert "read its definition otherwise (gates.miss_ratio: 0.5 -> 0.001): resume with the one that began it" in err
    # Two builds of one version are not told apart by its number alone.
    assert ("another build of mustherd" in err) == (was == metadata.version("mustherd"))
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as made:
        # The version that began it must still be able to.
        assert made.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize(
    ("stored", "facts"),
    [
        (
            {"kind": "twin", "cpu": "2 x E5-2650 v2", "cores": "16", "tsc_khz": "2600000", "x": "7"},
            Facts(kind="twin", cpu="2 x E5-2650 v2", cores=16, tsc_khz=2_600_000, loads_itself=True, text={"x": "7"}),
        ),
        (
            {"kind": "linux", "nic_driver": "ixgbe", "plausible_watts": "33.5..273.6", "tsc_khz": "", "packages": "2"},
            Facts(kind="linux", nic_driver="ixgbe", packages=2, plausible_watts=(33.5, 273.6), text={"tsc_khz": ""}),
        ),
        ({"kind": "linux", "plausible_watts": "1.0..inf"}, Facts(kind="linux", plausible_watts=(1.0, None))),
        (
            {"kind": "linux", "plausible_watts": "who knows"},
            Facts(kind="linux", text={"plausible_watts": "who knows"}),
        ),
        ({"kind": "process", "memcached": "127.0.0.1:4711"}, Facts(kind="process", address=("127.0.0.1", 4711))),
    ],
)
def test_facts_that_are_all_text_get_types(tmp_path: Path, stored: dict[str, str], facts: Facts) -> None:
    folder = folder_of_2(tmp_path / "old", "UPDATE muster SET facts = ?", json.dumps(stored))
    with Store.open(folder, read_only=True) as store:
        assert store.musters()["muster-1"].facts == facts
