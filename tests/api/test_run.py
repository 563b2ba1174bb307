"""Experiments run from Python: what comes back, what is told meanwhile, how they end early."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
from code import InteractiveInterpreter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

import mustherd
from mustherd.definition import digest, loads
from mustherd.experiment.local_herd import LocalHerdError
from mustherd.rowlog import native
from mustherd.trial import TrialKind, TrialState
from tests.waiting import until

pytestmark = pytest.mark.process

SMALL: dict[str, Any] = {
    "name": "small",
    "herd": {"simulated": {"musters": 2, "speed": 2000, "seed": 3}},
    "workload": {"qps": "600k"},
    "knobs": {"itr-delay": [50, 200, 300], "dvfs": [1600, 1900, 2600]},
    "constraints": ["read_p99_us <= 500"],
    "search": {"method": "random", "seed": 1},
    "trials": 4,
    "repeats": 1,
}
"""Over in a few seconds."""


def small(**changes: Any) -> mustherd.Experiment:
    return mustherd.Experiment(**{**SMALL, **changes})


def long() -> mustherd.Experiment:
    """One that is stopped long before its end."""
    return small(herd={"simulated": {"speed": 40}}, trials=9)


def put_back(folder: Path) -> bool:
    """Whether no muster of a run on this machine still holds an original value."""
    journals = folder.glob("herd/*/state/originals.json")
    return all(json.loads(file.read_text())["originals"] == [] for file in journals)


def left() -> list[psutil.Process]:
    """Our children that still run."""
    return [child for child in psutil.Process().children(recursive=True) if "mustherd" in " ".join(child.cmdline())]


class Told(NamedTuple):
    """A run and what it told, and in which threads."""

    result: mustherd.Result
    events: list[mustherd.Event]
    threads: set[int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """An experiment that was read from a file and is over."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yml").write_text(f"# as I asked it\n{small().to_yaml()}")
    events: list[mustherd.Event] = []
    threads = set()

    def tell(event: mustherd.Event) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    return Told(mustherd.run(str(folder / "small.yml"), into=folder / "x", on_event=tell), events, threads)


def asked(result: mustherd.Result) -> list[str]:
    """What an experiment tried, in whatever order its two musters came to it, and however often on a busy machine.

    Of what was confirmed each setting once: how many rounds settle it depends on what each muster came to measure.
    """
    last = {trial.number: trial for trial in result.view().trials}
    tried = [(trial.kind, f"{trial.kind} {trial.settings}") for trial in last.values()]
    once = {text for kind, text in tried if kind is TrialKind.CONFIRM}
    return sorted([*once, *(text for kind, text in tried if kind is not TrialKind.CONFIRM)])


def test_a_result_has_all_that_was_found(finished: Told, tmp_path: Path) -> None:
    result = finished.result
    assert (result.status, result.detail, result.name) == ("done", "", "small")
    assert result.exit_code == (0 if result.verdict.verdict == "met" else 1)
    assert result.decided
    assert result.best is not None
    assert set(result.best.settings) == {"itr-delay", "dvfs"}
    assert result.best.metrics["read_p99_us"] <= 500
    assert f"itr-delay {result.best.settings['itr-delay']} us" in str(result.best)
    trials = result.trials
    assert len(trials[(trials.kind == "search") & (trials.state == "finished")]) == 4
    assert {"itr_delay_us", "dvfs_mhz", "energy_joules", "read_p99_us"} <= set(trials.columns)
    assert result.logs(trial=1)[0].rows > 0
    assert result.definition == small()
    assert "# as I asked it" in (result.folder / "experiment.yml").read_text()
    assert [one.settings for one in result.pick("read_p99_us <= 10 s")] != [None]
    assert result.summary()["verdict"] == result.verdict.verdict
    assert result.summary()["row_parser"] == native.which()
    assert mustherd.open(result.folder).verdict == result.verdict
    assert [one.folder for one in mustherd.list_experiments(result.folder.parent)] == [str(result.folder)]
    assert left() == []


def test_a_result_writes_its_report(finished: Told, tmp_path: Path) -> None:
    written = finished.result.report(tmp_path / "mine.html")
    assert written == tmp_path / "mine.html"
    assert written.read_bytes() == (finished.result.folder / "report.html").read_bytes()


def test_a_result_shows_itself(finished: Told) -> None:
    result = finished.result
    assert repr(result) == f"<Result of small, done: {result.verdict.reason}; folder {result.folder}>"
    shown = result._repr_html_()
    assert escape(result.verdict.reason) in shown
    assert str(result.folder) in shown
    assert "<td>energy (J)</td>" in shown


def test_a_result_whose_folder_is_gone_says_so(finished: Told, tmp_path: Path) -> None:
    shutil.copytree(finished.result.folder, tmp_path / "copy")
    result = mustherd.open(tmp_path / "copy")
    assert "done" in repr(result)
    shutil.rmtree(tmp_path / "copy")
    assert (
        repr(result) == f"<Result of small: {tmp_path / 'copy'} does not exist: no experiment has been started there>"
    )
    with pytest.raises(mustherd.UserError, match="does not exist"):
        _ = result.verdict


def test_what_is_told_is_what_happened(finished: Told) -> None:
    result, told, threads = finished
    assert threads == {threading.get_ident()}
    begun = [e.trial for e in told if isinstance(e, mustherd.TrialStarted)]
    ended = [e.trial for e in told if isinstance(e, mustherd.TrialEnded)]
    stored = result.view().trials
    assert sorted((t.number, t.attempt) for t in begun) == [(t.number, t.attempt) for t in stored]
    assert sorted(ended, key=lambda t: (t.number, t.attempt)) == list(stored)
    assert all(t.state is TrialState.RUNNING and not t.metrics for t in begun)
    assert [e.phase for e in told if isinstance(e, mustherd.PhaseChanged)] == [
        "gathering", "baseline", "search", "confirmation", "done",
    ]  # fmt: skip
    joined = {e.muster for e in told if isinstance(e, mustherd.MusterChanged) and e.state == "alive"}
    assert joined == {"muster-1", "muster-2"}
    [verdict] = [e.verdict for e in told if isinstance(e, mustherd.VerdictReached)]
    assert verdict == result.verdict
    progress = [e for e in told if isinstance(e, mustherd.Progress)]
    done = [t for t in stored if t.state is TrialState.FINISHED]
    assert [e.done for e in progress] == list(range(1, len(done) + 1))
    assert progress[-1].planned >= len(done)
    assert told[-1] == mustherd.ExperimentEnded(at=told[-1].at, status="done", detail="")


def test_what_is_told_afterwards_is_the_same(finished: Told) -> None:
    def plain(events: Iterable[mustherd.Event]) -> list[str]:
        # How long is left is known only while it runs.
        return sorted(repr(msgspec.structs.replace(e, eta_seconds=None) if isinstance(e, mustherd.Progress) else e)
                      for e in events)  # fmt: skip

    assert plain(mustherd.watch(finished.result.folder)) == plain(finished.events)


def test_a_folder_that_is_done_is_not_run_again(finished: Told, tmp_path: Path) -> None:
    folder = finished.result.folder
    with pytest.raises(mustherd.UserError, match="is done; there is nothing to resume"):
        mustherd.resume(folder)
    with pytest.raises(mustherd.UserError, match="isn't running: there is nothing to stop"):
        mustherd.stop(folder)
    with pytest.raises(mustherd.UserError, match="already holds an experiment"):
        mustherd.run(small(), into=folder)
    with pytest.raises(mustherd.UserError, match="does not exist"):
        mustherd.open(tmp_path / "y")


def test_a_definition_that_is_wrong_starts_nothing(tmp_path: Path) -> None:
    wrong = "name: wrong\nherd: {simulated: {}}\nknobs: {itr-dely: [20]}\nworkload: {qps: 1}\n"
    (tmp_path / "wrong.yml").write_text(wrong)
    with pytest.raises(mustherd.UserError, match=r"wrong.yml:3: knobs.itr-dely: unknown knob"):
        mustherd.run(tmp_path / "wrong.yml", into=tmp_path / "x")
    with pytest.raises(mustherd.UserError, match=r"^policy.name: unknown policy 'no-such'"):
        mustherd.run(small(policy="no-such"), into=tmp_path / "x")
    with pytest.raises(mustherd.UserError, match=r"^experiment.yml:\d+: trials: 0 is too small"):
        mustherd.run(small().model_copy(update={"trials": 0}), into=tmp_path / "x")
    with pytest.raises(mustherd.UserError, match="can't be read"):
        mustherd.run(tmp_path / "nowhere.yml", into=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_herd_that_fails_is_raised_with_what_was_found(tmp_path: Path) -> None:
    broken = small(herd={"simulated": {"speed": 5000, "faults": {"energy_stuck": True}}})
    with pytest.raises(mustherd.ExperimentFailedError, match="energy-implausible") as caught:
        mustherd.run(broken, into=tmp_path / "x")
    assert isinstance(caught.value, mustherd.UserError)
    assert caught.value.exit_code == caught.value.result.exit_code == 3
    assert caught.value.result.status == "failed"
    assert (tmp_path / "x" / "report.html").exists()


def test_who_leaves_as_it_is_told_ends_the_experiment_in_good_order(tmp_path: Path) -> None:
    def leave(_event: mustherd.Event) -> None:
        sys.exit(5)

    with pytest.raises(SystemExit) as caught:
        mustherd.run(long(), into=tmp_path / "x", on_event=leave)
    assert caught.value.code == 5
    assert "go on: mustherd.resume(" in caught.value.__notes__[0]
    assert mustherd.open(tmp_path / "x").status == "stopped"
    assert (tmp_path / "x" / "report.html").exists()
    assert put_back(tmp_path / "x")
    assert left() == []


@pytest.mark.parametrize("raised", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_a_node_that_stays_changed_is_told_whatever_ended_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    """It ended with 0 and without a word."""

    def leave(*_: object) -> None:
        raise raised

    monkeypatch.setattr("mustherd.experiment.local_herd.run_here", leave)
    monkeypatch.setattr("mustherd.experiment.left_behind.put_back", lambda _store, ended=False: "NOT so" * ended)
    with pytest.raises(mustherd.ExperimentFailedError, match=r"^NOT so; its logs: ") as caught:
        mustherd.run(long(), into=tmp_path / "x", report=False)
    assert caught.value.__cause__ is raised
    assert caught.value.exit_code == 3
    with pytest.raises(mustherd.ExperimentFailedError, match=r"^NOT so; its logs: "):
        asyncio.run(mustherd.arun(long(), into=tmp_path / "y", report=False))


def test_a_node_that_stays_changed_is_told_beside_why_its_herd_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise LocalHerdError("the server was killed")

    monkeypatch.setattr("mustherd.experiment.local_herd.run_here", killed)
    monkeypatch.setattr("mustherd.experiment.left_behind.put_back", lambda _store, ended=False: "NOT so" * ended)
    with pytest.raises(LocalHerdError, match=r"^the server was killed; NOT so$"):
        mustherd.run(long(), into=tmp_path / "x", report=False)
    assert mustherd.open(tmp_path / "x").status == "failed"


def test_it_is_stopped_by_what_it_tells_resumed_and_its_shepherd_killed(tmp_path: Path) -> None:
    asked = False

    def stop(event: mustherd.Event) -> None:
        nonlocal asked
        # What is under way when it is stopped ends too.
        if isinstance(event, mustherd.TrialEnded) and not asked:
            mustherd.stop(tmp_path / "x")
            asked = True

    result = mustherd.run(long(), into=tmp_path / "x", on_event=stop)
    assert (result.status, result.exit_code, result.decided) == ("stopped", 4, False)
    assert put_back(result.folder)
    kept = result.trials[result.trials.state == "finished"].trial.tolist()
    told: list[mustherd.Event] = []

    def kill(event: mustherd.Event) -> None:
        told.append(event)
        if isinstance(event, mustherd.TrialEnded):
            [shepherd] = [child for child in left() if "shepherd" in child.cmdline()]
            shepherd.kill()

    with pytest.raises(mustherd.ExperimentFailedError, match="the shepherd was killed by signal 9") as caught:
        mustherd.resume(tmp_path / "x", on_event=kill)
    assert caught.value.signal == signal.SIGKILL
    assert (caught.value.result.status, caught.value.result.exit_code) == ("interrupted", 3)
    assert put_back(tmp_path / "x")
    assert left() == []
    again = [e.trial.number for e in told if isinstance(e, mustherd.TrialEnded) and e.trial.state == "finished"]
    assert not set(again) & set(kept), "what was told before is told again"
    trials = caught.value.result.trials
    assert set(trials[trials.state == "finished"].trial) == {*kept, *again}


CELL = """
import mustherd

calls = 0

def tell(event):
    global calls
    calls += 1
    raise ZeroDivisionError(f"call {calls}")

try:
    mustherd.run(text, on_event=tell)
except ZeroDivisionError as error:
    raised = error
    # Nothing but the error's note says where it is.
    shown = eval(error.__notes__[0].rpartition(": ")[2])
"""


@pytest.mark.long
def test_two_at_once_under_asyncio_one_of_them_a_cell_in_a_thread(
    finished: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    names: dict[str, Any] = {"text": small().to_yaml()}
    ticks = 0
    told: list[int] = []

    async def tell(event: mustherd.Event) -> None:
        await asyncio.sleep(0)
        told.append(threading.get_ident())

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    async def both() -> mustherd.Result:
        ticking = asyncio.create_task(tick())
        # Both take a new folder of the same name at the same moment.
        result, _ = await asyncio.gather(
            mustherd.arun(small(), on_event=tell),
            asyncio.to_thread(InteractiveInterpreter(names).runsource, CELL, symbol="exec"),
        )
        ticking.cancel()
        return result

    awaited, of_cell = asyncio.run(both()), names["shown"]
    assert {number: signal.getsignal(number) for number in signals} == signals
    assert ticks > 10
    assert set(told) == {threading.get_ident()}
    # What on_event raises did no harm, and was raised when all was over.
    assert str(names["raised"]) == "call 1"
    assert names["calls"] > 10
    assert f"on_event raised {names['calls']} times" in names["raised"].__notes__[0]
    for result in (awaited, of_cell):
        assert result.status == "done"
        assert result.folder.parent == tmp_path / "experiments"
        assert result.folder.name.startswith("small-")
        # Built, given as text, and read from a file they are one experiment.
        assert digest(result.definition) == digest(finished.result.definition)
        assert loads((result.folder / "experiment.yml").read_text()) == small()
        assert asked(result) == asked(finished.result)
    assert awaited.folder != of_cell.folder
    assert mustherd.open().folder in (awaited.folder, of_cell.folder)


def test_a_cancelled_task_stops_in_good_order(tmp_path: Path) -> None:
    async def cancelled() -> None:
        first = asyncio.Event()

        def tell(event: mustherd.Event) -> None:
            if isinstance(event, mustherd.TrialEnded):
                first.set()

        task = asyncio.create_task(mustherd.arun(long(), into=tmp_path / "x", on_event=tell))
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert mustherd.open(tmp_path / "x").status == "stopped"
    assert put_back(tmp_path / "x")
    assert left() == []


SCRIPT = """
import sys, mustherd
try:
    mustherd.run(sys.argv[1], into=sys.argv[2])
except KeyboardInterrupt as interrupted:
    print(mustherd.open(sys.argv[2]).status, *interrupted.__notes__, flush=True)
    raise
"""


def test_it_is_watched_from_elsewhere_to_its_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    (tmp_path / "long.yml").write_text(long().to_yaml())
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path / "long.yml", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    until((folder / "store.sqlite").exists)
    until(lambda: mustherd.open(folder).status == "running")
    seen, interrupted = [], False
    for event in mustherd.watch(folder):
        seen.append(event)
        if isinstance(event, mustherd.TrialEnded) and not interrupted:
            process.send_signal(signal.SIGINT)
            interrupted = True
    assert isinstance(seen[-1], mustherd.ExperimentEnded)
    assert seen[-1].status == "stopped"
    out, err = process.communicate(timeout=60)
    assert out.startswith("stopped "), err
    assert f"mustherd.resume('{folder}')" in out
    # The script itself ends as by any Ctrl-C.
    assert process.returncode == -signal.SIGINT
    assert put_back(folder)
