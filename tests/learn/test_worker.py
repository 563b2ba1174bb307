"""What goes wrong with a search in a process of its own."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from mustherd.learn.registry import SearchError
from mustherd.learn.worker import SearchProcess
from mustherd.testing.search import PROBLEM, measured
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
        with pytest.raises(SearchError, match="ended"):
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
