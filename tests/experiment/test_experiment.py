"""Experiments from end to end, as processes on loopback: what a user gets, and what survives a kill."""

import json
import random
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from mustherd.definition import quickstart
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialKind, TrialState
from tests import running
from tests.waiting import until

pytestmark = pytest.mark.process


def finished(folder: Path) -> dict[int, Trial]:
    with Store.open(folder, read_only=True) as store:
        trials = store.trials(state=TrialState.FINISHED)
    found = {trial.number: trial for trial in trials}
    assert len(found) == len(trials), "a number finished twice"
    return found


def events(folder: Path) -> list[str]:
    with Store.open(folder, read_only=True) as store:
        return [event.kind for event in store.events()]


def originals_left(folder: Path, muster: str) -> list[object]:
    journal = folder / "herd" / muster / "state" / "originals.json"
    return list(json.loads(journal.read_text())["originals"]) if journal.exists() else []


def test_the_quickstart_ends_with_one_object_and_a_report(tmp_path: Path) -> None:
    code, out, err = running.run("experiment", "start", "--json", cwd=tmp_path)
    result = json.loads(out)
    assert code == 0, err
    assert result["verdict"] == "met"
    for side in ("default", "best"):
        assert {"knobs", "energy_joules", "read_p99_us", "achieved_ratio"} <= set(result[side])
    assert result["default"]["knobs"] == {"dvfs": 2800, "itr-delay": 1}
    assert result["best"]["read_p99_us"] <= 500
    assert result["best"]["achieved_ratio"] >= 0.98
    assert result["trials"]["finished"] >= 30 + 3 + 3 * 4
    assert result["wall_seconds"] > 0
    assert abs(result["saving_percent"] - running.true_saving_percent(quickstart())) < 5
    folder = Path(result["folder"])
    assert folder.is_relative_to(tmp_path)
    assert "<svg" in (folder / "report.html").read_text()
    assert list((folder / "logs").glob("trial=*/muster=*/stream=*/*.parquet"))


@pytest.mark.long
@pytest.mark.night
def test_nine_of_ten_seeds_come_within_five_points_of_the_true_optimum(tmp_path: Path) -> None:
    text = running.definition(method="gp", trials=30, repeats=3)
    truth = running.true_saving_percent(text)
    near = 0
    for seed in range(1, 11):
        text = running.definition(method="gp", trials=30, repeats=3, seed=seed)
        _, result, _ = running.complete(tmp_path, text, name=f"seed-{seed}")
        saving = result["saving_percent"]
        near += saving is not None and abs(saving - truth) < 5
    assert near >= 9


@pytest.mark.parametrize(
    "kills", [2, pytest.param(8, marks=pytest.mark.long), pytest.param(20, marks=pytest.mark.night)]
)
def test_kills_of_the_shepherd_lose_no_finished_trial(tmp_path: Path, kills: int) -> None:
    rng = random.Random(20)
    text = running.definition(speed=150, trials=40, repeats=2)
    run = running.start(tmp_path, text)
    folder, kept = run.folder, dict[int, Trial]()
    for _ in range(kills):
        run.kill_shepherd(rng.uniform(0.0, 1.6))
        code, _, err = run.finish()
        assert code in (0, 1, 3), err
        if (folder / "store.sqlite").exists():
            now = finished(folder)
            assert {n: now[n] for n in kept} == kept, "a finished trial was lost or changed"
            kept = now
        if code != 3:
            break
        run = running.begin("experiment", "resume", folder, "--json", "--no-report", folder=folder)
    code, _, err = run.finish()
    if run.process.returncode == 3:
        code, _, err = running.run("experiment", "resume", folder, "--json", "--no-report")
    assert code in (0, 1), err
    by_kind = [trial.kind for trial in finished(folder).values()]
    assert by_kind.count(TrialKind.SEARCH) == 40
    assert sqlite3.connect(folder / "store.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for muster in ("muster-1", "muster-2"):
        assert originals_left(folder, muster) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)])
def test_a_muster_that_falls_silent_is_noticed_and_the_rest_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    # Slow enough for a trial to be under way whenever the muster is hit.
    run = running.start(tmp_path, running.definition(speed=40, trials=8, repeats=1))
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) >= 2)
    muster = run.child("muster-1", "muster.toml")
    assert muster is not None
    # One that measures the node as found has nothing to put back: that one is left alone.
    until(lambda: originals_left(run.folder, "muster-1"))
    hit_at = time.time()
    running.kill(muster, how)
    until(lambda: "muster-missing" in events(run.folder))

    def spoilt_trials() -> list[Trial]:
        with Store.open(run.folder, read_only=True) as store:
            return [t for t in store.trials(state=TrialState.INVALID) if t.reason == "muster-missing"]

    spoilt = until(spoilt_trials)
    assert [t.muster for t in spoilt] == ["muster-1"]
    assert spoilt[0].ended_at - hit_at < 1.5
    # Its guardian puts the node back without it, and ends for good one that stands still beyond its lease; the herd
    # starts another.
    until(lambda: not muster.is_running() or muster.status() == psutil.STATUS_ZOMBIE)
    until(lambda: originals_left(run.folder, "muster-1") == [])
    code, out, err = run.finish()
    assert code in (0, 1), err
    assert json.loads(out)["trials"]["running"] == 0
    by_kind = [trial.kind for trial in finished(run.folder).values()]
    assert by_kind.count(TrialKind.SEARCH) == 8
    assert {t.muster for t in finished(run.folder).values()} == {"muster-1", "muster-2"}
    assert originals_left(run.folder, "muster-1") == []


def test_ctrl_c_stops_in_good_order_and_resume_goes_on(tmp_path: Path) -> None:
    run = running.start(tmp_path, running.definition(speed=100, trials=8))
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) >= 2)
    run.process.send_signal(signal.SIGINT)
    code, out, err = run.finish()
    assert code == 4, err
    assert "resume" in err
    assert json.loads(out)["status"] == "stopped"
    assert originals_left(run.folder, "muster-1") == []
    kept = finished(run.folder)
    code, out, err = running.run("experiment", "resume", run.folder, "--json", "--no-report")
    assert code in (0, 1), err
    assert kept.items() <= finished(run.folder).items()
    code, _, err = running.run("experiment", "resume", run.folder)
    assert code == 2
    assert "nothing to resume" in err


def test_stop_and_status_from_another_terminal(tmp_path: Path) -> None:
    run = running.start(tmp_path, running.definition(speed=10, trials=8))
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) >= 1)
    code, out, err = running.run("experiment", "status", run.folder, "--json")
    assert code == 0, err
    status = json.loads(out)
    assert status["status"] == "running"
    assert [m["state"] for m in status["musters"]] == ["alive", "alive"]
    code, _, err = running.run("experiment", "resume", run.folder)
    assert code == 2, "two shepherds may not run one experiment"
    code, out, err = running.run("experiment", "stop", run.folder, "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "stopping"
    assert run.finish()[0] == 4
    code, _, err = running.run("experiment", "stop", run.folder)
    assert code == 2
    assert "isn't running" in err


def test_resume_refuses_a_changed_definition(tmp_path: Path) -> None:
    run = running.start(tmp_path, running.definition(speed=40, trials=8))
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) >= 1)
    run.process.send_signal(signal.SIGINT)
    run.finish()
    spec = run.folder / "experiment.yml"
    spec.write_text(spec.read_text().replace("trials: 8", "trials: 9"))
    code, _, err = running.run("experiment", "resume", run.folder)
    assert code == 2
    assert "trials: 8 -> 9" in err


def test_no_process_outlives_its_command(tmp_path: Path) -> None:
    run = running.start(tmp_path, running.definition(speed=40, trials=8, method="gp"))
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) >= 1)
    children = run.children
    assert len(children) >= 4, "a shepherd, two musters and a search"
    running.kill(psutil.Process(run.process.pid))
    run.finish()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []
    assert originals_left(run.folder, "muster-1") == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("write_error: [dvfs]", "decision-failed"),
        pytest.param("lost_rows: 7", "log-rows-lost", marks=pytest.mark.long),
        pytest.param("knob_ignored: [dvfs]", "knob-not-held", marks=pytest.mark.long),
        pytest.param("knob_reverts_after_s: {itr-delay: 12}", "knob-not-held", marks=pytest.mark.long),
        pytest.param("energy_stuck: true", "energy-implausible", marks=pytest.mark.long),
        pytest.param("energy_error: true", "energy-unreadable", marks=pytest.mark.long),
        pytest.param("misses: 0.1", "cache-misses", marks=pytest.mark.long),
        pytest.param("generator_saturated: true", "generator-saturated", marks=pytest.mark.long),
    ],
)
def test_a_broken_environment_ends_the_experiment_with_its_reason(tmp_path: Path, fault: str, reason: str) -> None:
    text = running.definition(speed=5000, musters=1, trials=4, more=f", faults: {{{fault}}}")
    code, result, err = running.complete(tmp_path, text)
    assert code == 3, err
    assert reason in err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        bad = {t.reason for t in store.trials() if t.state in (TrialState.INVALID, TrialState.FAILED)}
    assert reason in bad


def test_nothing_is_tuned_by_the_policy_that_changes_nothing(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, running.definition(trials=4) + "policy: nop\n")
    assert code == 0, err
    trials = finished(Path(result["folder"])).values()
    assert len(trials) == 4
    assert all(trial.settings == {} for trial in trials)
    # A simulated node writes its registers down when one is first written.
    assert not list(Path(result["folder"]).glob("herd/*/state/registers.json"))
    # And nothing is written that was not asked for.
    assert "report: " not in err
    assert not (Path(result["folder"]) / "report.html").exists()
    code, _, err = running.here("experiment", "pick", result["folder"])
    assert code != 0
    assert "compares no settings" in err


@pytest.mark.long
def test_a_limit_that_nothing_keeps_is_not_met(tmp_path: Path) -> None:
    text = running.definition(trials=5).replace("read_p99_us <= 500", "read_p99_us <= 20")
    code, result, err = running.complete(tmp_path, text)
    assert code == 1, err
    assert result["verdict"] == "not met"
    assert "closest" in result["reason"]


@pytest.mark.long
def test_a_budget_ends_the_search_early(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, running.definition(trials=30) + "budget: {minutes: 4}\n")
    assert code in (0, 1), err
    trials = finished(Path(result["folder"])).values()
    assert 1 <= sum(t.kind is TrialKind.SEARCH for t in trials) < 15
    assert "search-over" in events(Path(result["folder"]))
    assert result["search_ended"].startswith("the budget of 4 minutes is used up")
