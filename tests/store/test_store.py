"""The store's promises: nothing twice, nothing half, and clear words when something is wrong."""

import json
import math
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mustherd.goal import Constraint, Goal
from mustherd.reasons import Reason
from mustherd.rowlog.folder import ExperimentFolder
from mustherd.store import lock
from mustherd.store.catalog import list_experiments, summary_of
from mustherd.store.store import OwnedError, Store, StoreError, vacant
from mustherd.terms import Energy, Facts, KnobInfo, LoadReport, Reading
from mustherd.trial import Trial, TrialKind, TrialState
from tests.typed import some


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


GOAL = Goal(limits=(Constraint("read_p99_us", 500.0),), margin=0.06, loads=(6e5,), repeats=3)


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def store(tmp_path: Path, now: Time) -> Iterator[Store]:
    with Store.create(
        tmp_path / "exp",
        name="exp",
        definition="name: exp\r\n",
        resolved={"a": [1, None]},
        digest="d1",
        goal=GOAL,
        now=now,
    ) as made:
        yield made


def search(number: int, **settings: int) -> Trial:
    return Trial(number=number, kind=TrialKind.SEARCH, settings=settings or {"itr-delay": 10 * number})


def ended(trial: Trial, state: TrialState = TrialState.FINISHED, **metrics: float) -> Trial:
    trial.state = state
    trial.metrics = metrics or {"energy_joules": 100.0 + trial.number}
    return trial


def measured_load() -> LoadReport:
    return LoadReport(
        generator="twin",
        t0_s=1.5,
        t1_s=31.5,
        offered_qps=600e3,
        achieved_qps=599e3,
        requests=18_000_000,
        misses=0,
        samples=60_000,
        read_us={"p99": 480.5},
        update_us={"p99": 481.5},
    )


def test_a_trial_comes_back_as_it_was_stored(store: Store, now: Time) -> None:
    queued = store.add(search(1, **{"itr-delay": 300, "dvfs": 1800}))
    assert (queued.state, queued.queued_at) == (TrialState.QUEUED, 1000.0)
    now.at = 1001.0
    begun = store.start(queued, "m0")
    assert store.trial(1) == begun
    now.at = 1002.0
    begun.state = TrialState.FINISHED
    begun.ended_at = 1001.75
    begun.metrics = {"energy_joules": 1800.25, "read_p99_us": 480.5, "achieved_ratio": 0.999}
    begun.readings = (Reading(sheep="node-0", knob="dvfs", asked=1800, applied=1800, running=None, held=True),)
    begun.energies = (Energy(zone="package-0", kind="package", joules=900.125),)
    begun.load_report = measured_load()
    assert store.finish(begun) is None
    assert store.trial(1) == begun
    assert store.trials(TrialKind.SEARCH, TrialState.FINISHED) == [begun]
    assert store.trials(TrialKind.BASELINE) == []
    assert store.counts() == {"queued": 0, "running": 0, "finished": 1, "invalid": 0, "failed": 0}


def test_a_metric_called_as_a_column_takes_none_of_them(store: Store) -> None:
    store.finish(ended(store.start(store.add(search(1)), "m0"), muster=7.5))
    row = ExperimentFolder(store.folder).trials().iloc[0]
    assert (row["muster"], row["metric_muster"]) == ("m0", 7.5)


def test_the_tables_can_be_queried_by_hand(store: Store) -> None:
    trial = store.start(store.add(search(1, **{"itr-delay": 300})), "m0")
    store.finish(ended(trial, energy_joules=1800.25, read_p99_us=480.5, achieved_ratio=0.999))
    with sqlite3.connect(store.folder / "store.sqlite") as database:
        found = database.execute(
            "select number, attempt, kind, muster, json_extract(settings, '$.\"itr-delay\"'), energy_joules,"
            " read_p99_us, achieved_ratio, wall_seconds from result"
        ).fetchall()
    database.close()
    assert found == [(1, 1, "search", "m0", 300, 1800.25, 480.5, 0.999, 0.0)]


def test_numbers_of_numpy_and_not_numbers_are_kept(store: Store) -> None:
    settings: Any = {"dvfs": np.int64(1200)}
    trial = store.start(store.add(Trial(number=1, kind=TrialKind.SEARCH, settings=settings)), "m0")
    trial.load_report = measured_load()
    trial.load_report.read_us["p99"] = math.nan
    store.finish(ended(trial, TrialState.INVALID, read_p99_us=math.nan, energy_joules=np.float64(3.5), x=math.inf))
    found = store.trial(1)
    assert found.settings == {"dvfs": 1200}
    assert found.metrics["energy_joules"] == 3.5
    assert math.isnan(found.metrics["read_p99_us"])
    assert math.isnan(found.metrics["x"])
    assert math.isnan(some(found.load_report).read_us["p99"])
    assert store._read("select read_p99_us, energy_joules from trial") == [(None, 3.5)]


def test_a_number_counts_once(store: Store) -> None:
    first = store.add(search(1))
    with pytest.raises(StoreError, match="1-1 can't be queued"):
        store.add(search(1))
    other = search(1)
    other.attempt = 2
    with pytest.raises(StoreError, match="1-2 can't be queued"):
        store.add(other)
    store.finish(ended(store.start(first, "m0")))
    with pytest.raises(StoreError, match="1-2 can't be queued"):
        store.add(other)
    with pytest.raises(sqlite3.IntegrityError):
        store._db.execute(
            "insert into trial (number, attempt, kind, state, settings, queued_at)"
            " values (1, 9, 'search', 'finished', '{}', 0)"
        )


def test_states_follow_each_other(store: Store) -> None:
    first = store.add(search(1))
    with pytest.raises(StoreError, match="1-1 is not running"):
        store.finish(ended(search(1)))
    begun = store.start(first, "m0")
    with pytest.raises(StoreError, match="1-1 is not queued"):
        store.start(first, "m1")
    with pytest.raises(StoreError, match="which is not an end"):
        store.finish(begun)
    with pytest.raises(StoreError, match="needs no other attempt"):
        store.finish(ended(begun), retry=True)
    store.finish(ended(begun))
    with pytest.raises(StoreError, match="1-1 is not running"):
        store.finish(ended(begun))
    never_ran = ended(store.add(search(2)), TrialState.FAILED)
    store.finish(never_ran)
    assert store.trial(2).state is TrialState.FAILED


def test_an_invalid_trial_is_queued_again_in_the_same_breath(store: Store, now: Time) -> None:
    begun = store.start(store.add(search(1)), "m0")
    begun.reason = "knob-not-held"
    now.at = 1005.0
    again = store.finish(ended(begun, TrialState.INVALID), retry=True)
    assert again == Trial(number=1, attempt=2, kind=TrialKind.SEARCH, settings={"itr-delay": 10}, queued_at=1005.0)
    assert store.trials(state=TrialState.QUEUED) == [again]
    assert [(t.attempt, t.state, t.reason) for t in store.trials()] == [
        (1, "invalid", "knob-not-held"),
        (2, "queued", ""),
    ]
    assert store.trial(1) == again
    assert store.trial(1, 1).reason == "knob-not-held"


def test_running_trials_of_a_dead_run_are_queued_again(store: Store) -> None:
    store.finish(ended(store.start(store.add(search(1)), "m0")))
    store.start(store.add(search(2)), "m0")
    store.start(store.add(search(3)), "m1")
    store.add(search(4))
    again = store.requeue_running()
    assert [(t.number, t.attempt, t.state) for t in again] == [(2, 2, "queued"), (3, 2, "queued")]
    assert [t.number for t in store.trials(state=TrialState.QUEUED)] == [2, 3, 4]
    assert store.trial(2, 1).reason == Reason.SHEPHERD_DIED
    assert store.counts() == {"queued": 3, "running": 0, "finished": 1, "invalid": 2, "failed": 0}
    assert store.requeue_running() == []
    assert max(trial.number for trial in store.trials()) == 4


def test_the_folder_keeps_the_definition_verbatim(store: Store) -> None:
    assert (store.folder / "experiment.yml").read_bytes() == b"name: exp\r\n"
    found = store.experiment()
    assert (found.name, found.definition, found.digest, found.resolved) == (
        "exp",
        "name: exp\r\n",
        "d1",
        {"a": [1, None]},
    )
    assert found.versions["mustherd"]
    assert found.goal == GOAL
    assert [path.name for path in store.folder.parent.iterdir()] == ["exp"]


def test_create_refuses_what_is_there(store: Store, tmp_path: Path) -> None:
    args: dict[str, Any] = {"name": "x", "definition": "", "resolved": {}, "digest": "", "goal": GOAL}
    stop = rf"being run by .*, mustherd experiment stop {store.folder}$"
    with lock.own(store.folder), pytest.raises(OwnedError, match=stop):
        vacant(store.folder)
    with pytest.raises(StoreError, match="already holds an experiment"):
        Store.create(store.folder, **args)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not an empty folder"):
        Store.create(other, **args)
    (other / "notes.txt").unlink()
    Store.create(other, **args).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="not an empty folder"):
        Store.create(tmp_path / "file", **args)
    with pytest.raises(StoreError, match="can't be made"):
        Store.create(tmp_path / "file" / "exp", **args)


def test_open_says_what_is_wrong(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Store.open(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(StoreError, match=re.escape("has no store.sqlite")):
        Store.open(empty)
    (empty / "store.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="can't be read"):
        Store.open(empty)
    (empty / "store.sqlite").unlink()
    foreign = sqlite3.connect(empty / "store.sqlite")
    foreign.execute("create table x (y)")
    foreign.commit()
    before = (empty / "store.sqlite").read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="not one of ours"):
            Store.open(empty, read_only=read_only)
    foreign.close()
    assert (empty / "store.sqlite").read_bytes() == before
    store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"version 99.*reads versions 2 to 4"):
        Store.open(store.folder, read_only=True)


def test_a_reader_sees_what_was_written_and_writes_nothing(store: Store) -> None:
    with Store.open(store.folder, read_only=True) as reader:
        version = reader.data_version()
        assert reader.data_version() == version
        trial = store.start(store.add(search(1)), "m0")
        assert reader.trials() == [trial]
        assert reader.data_version() != version
        with pytest.raises(StoreError, match="can't be written"):
            reader.add(search(2))
        # A reader in the middle of the writer's transaction sees the state before it, at once.
        with store._write() as database:
            database.execute("UPDATE trial SET state = 'invalid'")
            assert reader.trial(1).state is TrialState.RUNNING
        assert reader.trial(1).state is TrialState.INVALID


def test_a_read_only_folder_can_be_read(store: Store) -> None:
    store.add(search(1))
    store.close()
    assert not list(store.folder.glob("store.sqlite-*"))
    store.folder.chmod(0o555)
    try:
        # Root may write anywhere, so the look of read-only media comes from a process without that right.
        code = "import sys; from mustherd.store.store import Store; print(len(Store.open(sys.argv[1], True).trials()))"
        command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", code, str(store.folder)]
        if os.getuid() == 0:
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        store.folder.chmod(0o755)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_status_plan_phase_and_verdict(store: Store) -> None:
    assert store.experiment().status == "created"
    store.set_status("running")
    store.set_plan({"baseline": 4, "search": 30})
    store.set_phase("search")
    store.set_verdict({"verdict": "met", "saving_percent": 40.5})
    store.set_status("failed", "the herd is gone")
    found = store.experiment()
    assert (found.status, found.status_detail, found.phase) == ("failed", "the herd is gone", "search")
    assert found.plan == {"baseline": 4, "search": 30}
    assert found.verdict == {"verdict": "met", "saving_percent": 40.5}
    with pytest.raises(StoreError):
        store.set_status("dancing")  # type: ignore[arg-type]


def test_wall_time_adds_up_over_runs_that_ended_and_runs_that_died(store: Store, now: Time) -> None:
    assert store.wall_seconds() == 0.0
    store.set_status("running")
    now.at = 1010.0
    assert store.wall_seconds() == 10.0
    store.set_status("running", "searching")
    store.set_status("stopped")
    now.at = 2000.0
    assert store.wall_seconds() == 10.0
    store.set_status("running")
    now.at = 2005.0
    store.event("note", "the last sign of life")
    now.at = 3000.0
    with Store.open(store.folder, now=now) as heir:
        assert heir.wall_seconds() == 15.0
        heir.set_status("running")
        now.at = 3001.0
        heir.set_status("done")
        assert heir.wall_seconds() == 16.0


def test_the_journal_keeps_order(store: Store, now: Time) -> None:
    first = store.event("muster-lost", "m1 is gone", {"muster": "m1"})
    now.at = 1003.0
    second = store.event("muster-back", "m1 is back")
    assert [(e.id, e.at, e.kind, e.data) for e in store.events()] == [
        (first, 1000.0, "muster-lost", {"muster": "m1"}),
        (second, 1003.0, "muster-back", {}),
    ]
    assert [e.id for e in store.events(first)] == [second]


def test_what_is_known_of_a_muster_adds_up(store: Store) -> None:
    knob = KnobInfo(name="itr-delay", sheep="node-0", unit="us", values=(1,), names={1: "adaptive"})
    facts = Facts(kind="linux", cpu="E5-2650 v2", plausible_watts=(30.0, None), text={"smt": "on"})
    store.set_muster("m0", state="alive")
    assert store.musters()["m0"].facts.rows() == {}
    store.set_muster("m0", state="alive", facts=facts, knobs=[knob])
    store.set_muster("m0", state="late")
    found = store.musters()["m0"]
    assert (found.state, found.facts, found.knobs) == ("late", facts, (knob,))


def test_threads_may_share_a_store(store: Store) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 10):
            store.finish(ended(store.start(store.add(search(number)), "m0")))
            store.event("note", "x")

    threads = [threading.Thread(target=work, args=(100 * index + 1,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts()["finished"] == 40
    assert len(store.events()) == 40


def test_one_owner_at_a_time(store: Store) -> None:
    assert store.owner() is None
    with store.own():
        assert store.owner() == os.getpid()
        with pytest.raises(OwnedError, match=f"being run by process {os.getpid()}"), store.own():
            pytest.fail("owned twice")
        assert store.owner() == os.getpid()
    assert store.owner() is None
    with store.own():
        pass


@pytest.mark.process
def test_ownership_ends_with_a_killed_owner_even_when_its_children_live(store: Store) -> None:
    code = (
        "import os, sys, time\n"
        "from mustherd.store.store import Store\n"
        "with Store.open(sys.argv[1]) as store, store.own():\n"
        "    if os.fork() == 0:\n"
        "        print(os.getpid(), flush=True); time.sleep(60)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    grandchild = int(child.stdout.readline())
    try:
        assert store.owner() == child.pid
        with pytest.raises(OwnedError) as caught, store.own():
            pytest.fail("owned twice")
        assert caught.value.pid == child.pid
        child.kill()
        child.wait()
        assert store.owner() is None
        with store.own():
            assert store.owner() == os.getpid()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        os.kill(grandchild, 9)


def test_experiments_are_listed_broken_ones_too(store: Store, tmp_path: Path, now: Time) -> None:
    now.at = 900.0
    for name in ("later", "newer-tables", "torn"):
        Store.create(tmp_path / name, name=name, definition="", resolved={}, digest="", goal=GOAL, now=now).close()
        now.at += 1
    (tmp_path / "torn" / "store.sqlite").write_bytes(b"\0" * 5000)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "experiment.yml").write_text("")
    (tmp_path / "unrelated").mkdir()
    with sqlite3.connect(tmp_path / "newer-tables" / "store.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    store.add(search(1))
    store.set_plan({"baseline": 1, "search": 30})
    store.set_verdict({"verdict": "not met", "saving_percent": 1.5})
    store.set_status("running")
    found = {summary.name: summary for summary in list_experiments(tmp_path)}
    assert list(found) == ["exp", "later", "torn", "newer-tables", "half"]
    assert [found[name].status for name in found] == ["interrupted", "created", "broken", "broken", "broken"]
    assert "has no store.sqlite" in found["half"].detail
    assert "version 99" in found["newer-tables"].detail
    exp = found["exp"]
    assert (exp.planned, exp.trials["queued"], exp.verdict, exp.saving_percent) == (31, 1, "not met", 1.5)
    with store.own():
        assert summary_of(store).status == "running"
    assert list_experiments(tmp_path / "nowhere") == []
    with pytest.raises(StoreError, match="can't be listed"):
        list_experiments(tmp_path / "half" / "experiment.yml")


@pytest.mark.process
def test_the_store_opens_without_the_heavy_libraries() -> None:
    code = (
        "import json, sys; import mustherd.store.store, mustherd.store.catalog;"
        "print(json.dumps([m for m in ('pandas', 'numpy', 'scipy', 'pyarrow', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
