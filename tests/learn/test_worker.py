"""What goes wrong with a search in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mustherd.definition import content, digest, goal
from mustherd.learn.registry import SearchError
from mustherd.learn.worker import SearchProcess, end_unused, start_early
from mustherd.store.store import Store
from mustherd.testing.search import PROBLEM, measured
from tests.definition.make import made
from tests.waiting import until

pytestmark = pytest.mark.process


def gone(pid: int) -> bool:
    return until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_learns_like_the_search_itself() -> None:
    with SearchProcess("gp", PROBLEM, seed=3) as search:
        for _ in range(5):
            point = search.ask()
            assert point is not None
            search.tell([measured(point)])
        assert search.state()["method"] == "gp"
        assert search.state()["observations"] == 5


def test_close_ends_the_process_and_may_be_repeated() -> None:
    search = SearchProcess("grid", PROBLEM)
    assert search.ask() is not None
    search.close()
    search.close()
    assert gone(search.pid)
    with pytest.raises(SearchError, match="closed"):
        search.ask()


def test_ctrl_c_is_for_the_parent() -> None:
    with SearchProcess("grid", PROBLEM) as search:
        assert search.ask() is not None
        os.kill(search.pid, signal.SIGINT)
        assert search.ask() is not None


def test_a_killed_worker_is_an_error_that_says_so() -> None:
    with SearchProcess("grid", PROBLEM) as search:
        assert search.ask() is not None
        os.kill(search.pid, signal.SIGKILL)
        with pytest.raises(SearchError, match="was killed by signal 9"):
            search.ask()
        with pytest.raises(SearchError, match="closed"):
            search.ask()


def test_a_worker_that_hangs_is_given_up() -> None:
    with SearchProcess("grid", PROBLEM, answer_seconds=20.0) as search:
        assert search.ask() is not None
        os.kill(search.pid, signal.SIGSTOP)
        search._answer_seconds = 0.1
        with pytest.raises(SearchError, match=r"no answer within 0\.1 s"):
            search.ask()
        assert gone(search.pid)


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SearchError, match="ended"), SearchProcess("grid", PROBLEM) as search:
        search.ask()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(SearchError, match="could not be started"):
        SearchProcess("grid", PROBLEM)


def test_a_killed_parent_leaves_no_worker_behind() -> None:
    program = (
        "import sys, time\n"
        "from mustherd.learn.worker import SearchProcess\n"
        "from mustherd.testing.search import PROBLEM\n"
        "search = SearchProcess('grid', PROBLEM)\n"
        "search.ask()\n"
        "print(search.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert psutil.pid_exists(worker)
        parent.kill()
    assert gone(worker)


def children(pid: int | None = None) -> list[int]:
    """Pids of the workers of a process, by default this one."""
    return [c.pid for c in psutil.Process(pid).children() if "mustherd.learn.worker" in " ".join(c.cmdline())]


def test_one_that_was_started_early_has_imported_before_it_is_asked_and_is_the_one_that_is_taken() -> None:
    start_early("gp")
    start_early("gp")
    [early] = children()
    assert until(lambda: any("scipy" in m.path for m in psutil.Process(early).memory_maps()), patience_s=60)
    with SearchProcess("gp", PROBLEM) as search:
        assert search.pid == early
        assert search.ask() is not None
        with SearchProcess("gp", PROBLEM) as second:
            assert second.pid != early
    assert gone(early)


def test_one_that_nobody_takes_is_ended() -> None:
    start_early("no-such-search")
    [early] = children()
    end_unused()
    end_unused()
    assert gone(early)
    assert children() == []


def test_a_shepherd_starts_it_before_there_is_a_herd_and_ends_it_with_itself(tmp_path: Path) -> None:
    experiment = made()
    folder = tmp_path / "early"
    with Store.create(
        folder, name=experiment.name, definition=experiment.to_yaml(), resolved=content(experiment),
        digest=digest(experiment), goal=goal(experiment),
    ):  # fmt: skip
        pass
    command = [sys.executable, "-m", "mustherd", "shepherd", "run", "--experiment", str(folder), "--musters", "1"]
    with subprocess.Popen(
        [*command, "--ports", "0,0,0,0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as shepherd:
        try:
            [early] = until(lambda: children(shepherd.pid))
        finally:
            shepherd.terminate()
    assert gone(early)
    with Store.open(folder, read_only=True) as store:
        assert store.trials() == []
