"""What is left changed when everybody was killed is put back by whoever comes next, and said until then."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mustherd.api import list_experiments
from mustherd.api import open as opened
from mustherd.report.html import render
from mustherd.store.store import Store
from tests import running
from tests.running import Run, begin, definition, start
from tests.typed import some
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.process

LONG = definition(musters=1, trials=400, repeats=1, speed=20)
ORIGINALS = {"itr-delay": 1, "dvfs": 2800}
START_S = 3 * PATIENCE_S
"""Until a first trial has set something: three Pythons start for it, and the default is measured before."""


def registers(run: Run) -> dict[str, int]:
    file = run.folder / "herd/muster-1/state/registers.json"
    return json.loads(file.read_text()) if file.exists() else {}


def changed(run: Run) -> bool:
    return registers(run) not in ({}, ORIGINALS)


def kinds(folder: Path) -> list[str]:
    with Store.open(folder, read_only=True) as store:
        return [event.kind for event in store.events()]


def texts(folder: Path) -> str:
    with Store.open(folder, read_only=True) as store:
        return "\n".join(event.text for event in store.events())


def kill_all(processes: list[psutil.Process]) -> None:
    """At once: whoever still stood could put the node back."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            os.kill(process.pid, number)


@pytest.mark.long
def test_where_all_were_killed_whoever_looks_is_told_and_resume_puts_it_back(tmp_path: Path) -> None:
    run = start(tmp_path, LONG)
    until(lambda: changed(run), START_S)
    kill_all([psutil.Process(run.process.pid), *run.children])
    run.process.communicate()
    left = registers(run)
    assert left != ORIGINALS
    code, out, _ = running.run("experiment", "list", tmp_path)
    [one], view = list_experiments(tmp_path), opened(run.folder).view()
    for said in (out, one.left[0], view.detail, render(view)):
        assert "the node of muster muster-1 is NOT as it was found" in said
        assert f"mustherd knob restore --config {run.folder}/herd/muster-1/muster.toml" in said
    assert code == 0
    assert registers(run) == left
    # Going on with it begins with that.
    again = begin("experiment", "resume", run.folder, "--no-report", "--json", folder=run.folder)
    until(lambda: "knobs-restored" in kinds(run.folder) and changed(again))
    again.process.send_signal(signal.SIGINT)
    assert again.finish()[0] == 4
    assert registers(run) == ORIGINALS
    assert "NOT as it was found" not in opened(run.folder).view().detail


@pytest.mark.long
def test_the_command_puts_back_what_its_herd_left(tmp_path: Path) -> None:
    run = start(tmp_path, LONG)
    until(lambda: changed(run), START_S)
    kill_all(run.children)
    code, out, _ = run.finish()
    assert code == 3
    said = json.loads(out)
    assert (said["experiment"], said["status"]) == ("test", "interrupted")
    assert registers(run) == ORIGINALS
    assert "the node of muster muster-1 was put back" in texts(run.folder)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Run, psutil.Process, psutil.Process]]:
    """An experiment whose node is changed, its muster, and the guardian of that."""
    run = start(tmp_path, LONG)
    until(lambda: changed(run), START_S)
    muster = some(run.child("mustherd.muster", "muster.toml"))
    [guardian] = muster.children()
    yield run, muster, guardian
    with contextlib.suppress(psutil.NoSuchProcess):
        guardian.kill()


@pytest.mark.long
def test_a_muster_and_its_guardian_that_stand_still_when_the_command_ends_are_ended(
    guarded: tuple[Run, psutil.Process, psutil.Process],
) -> None:
    """The guardian kept the state folder's lock, and the command took that for a muster that runs: exit code 4, the
    node left changed, not a word."""
    run, muster, guardian = guarded
    for process in (guardian, muster):
        process.suspend()
    run.process.send_signal(signal.SIGTERM)
    code, out, _ = run.finish()
    assert registers(run) == ORIGINALS
    assert (code, json.loads(out)["status"]) == (4, "stopped")
    assert "the node of muster muster-1 was put back" in texts(run.folder)
    assert not guardian.is_running() or guardian.status() == psutil.STATUS_ZOMBIE


@pytest.mark.long
def test_a_guardian_that_stands_still_after_its_muster_keeps_no_next_life_out(
    tmp_path: Path, guarded: tuple[Run, psutil.Process, psutil.Process]
) -> None:
    run, _, guardian = guarded
    guardian.suspend()
    kill_all([psutil.Process(run.process.pid), *(child for child in run.children if child != guardian)])
    run.process.communicate()
    assert changed(run)
    # The kernel takes a moment to end a killed muster.
    [left] = until(lambda: list_experiments(tmp_path)[0].left)
    assert "the node of muster muster-1 is NOT as it was found" in left
    code, _, _ = running.run("knob", "restore", "--config", str(run.folder / "herd/muster-1/muster.toml"))
    assert (code, registers(run)) == (0, ORIGINALS)


@pytest.mark.long
def test_what_a_guardian_put_back_is_told_by_the_next_life(tmp_path: Path) -> None:
    run = start(tmp_path, LONG)
    until(lambda: changed(run), START_S)
    muster = run.child("mustherd.muster", "muster.toml")
    assert muster is not None
    os.kill(muster.pid, signal.SIGKILL)
    until(lambda: "knobs-restored" in kinds(run.folder))
    assert "its muster was killed; its guardian did" in texts(run.folder)
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 4
    assert registers(run) == ORIGINALS


@pytest.mark.long
def test_what_a_guardian_put_back_last_of_all_is_told_by_the_command(tmp_path: Path) -> None:
    run = start(tmp_path, LONG)
    until(lambda: changed(run), START_S)
    muster, shepherd = run.child("mustherd.muster", "muster.toml"), run.child("shepherd")
    assert muster is not None
    assert shepherd is not None
    guardian = muster.children()
    kill_all([shepherd, muster])
    psutil.wait_procs(guardian)
    assert run.finish()[0] == 3
    assert registers(run) == ORIGINALS
    assert "its guardian did" in texts(run.folder)
