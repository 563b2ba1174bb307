"""What each file of tests may cost, and a run that says which took more: see budgets.toml.

Budgets are seconds on a quiet machine of the speed that `REFERENCE_S` was measured on. Others are slower, and busy ones
slower still. So two things are looked at again and again while tests run: how much processor time the same piece of
work takes, which tells the machine's speed whoever else is on it, and how many processes share a core. Files may take
longer by both, and `SLACK` times as long as that: a check that people believe has no false alarms. Nothing is judged
without MUSTHERD_BUDGETS=1, which `make budgets` sets.
"""

import os
import statistics
import time
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("budgets.toml")
REFERENCE_S = 0.0059
"""What `piece_of_work` takes on one core of an AMD EPYC of 2024 under CPython 3.11."""
EVERY_S = 2.0
"""Between two looks at how fast the machine is."""
SLACK = 2.0


def budgets() -> tuple[dict[str, float], float]:
    """Seconds of each file that has a budget of its own, and of every other."""
    given = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return given["files"], given["others"]


def piece_of_work() -> float:
    """Do it; gives how many seconds of processor time it took."""
    began = time.thread_time()
    found: dict[int, int] = {}
    for number in range(60_000):
        found[number % 977] = found.get(number % 977, 0) + number
    return time.thread_time() - began


def over(spent: Mapping[str, float], own: Mapping[str, float], others: float, slowness: float) -> list[str]:
    """Files that took more than they may, each in a sentence."""
    return [
        f"{file} took {seconds:.1f} s where {own.get(file, others):g} s are its budget, on a machine that is "
        f"{slowness:.1f} times slower: make it cheaper, or say in {FILE.name} why it must cost that"
        for file, seconds in sorted(spent.items())
        if seconds > own.get(file, others) * slowness * SLACK
    ]


class Watch:
    """Adds up what files take, in the process that reports come to, and judges at the end."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._works = [piece_of_work() for _ in range(5)]
        self._loads = [os.getloadavg()[0]]
        self._next = 0.0
        self.problems: list[str] = []

    @property
    def slowness(self) -> float:
        """How many times slower than on a quiet reference tests were to be expected; not below 1."""
        slower = statistics.median(self._works) / REFERENCE_S
        shared = statistics.fmean(self._loads) / len(os.sched_getaffinity(0))
        return max(1.0, slower) * max(1.0, shared)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.spent[report.nodeid.partition("::")[0]] += report.duration
        if time.monotonic() >= self._next:
            self._works.append(piece_of_work())
            self._loads.append(os.getloadavg()[0])
            self._next = time.monotonic() + EVERY_S

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.problems = over(self.spent, *budgets(), self.slowness)
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(
            f"tests took {sum(self.spent.values()):.0f} s, added up over workers, on a machine {self.slowness:.1f}"
            " times slower than a quiet reference"
        )
        for problem in self.problems:
            terminalreporter.write_line(problem, red=True)


def watch(config: pytest.Config) -> None:
    """Judge this run, where it is asked for; workers of a parallel run only report."""
    if os.environ.get("MUSTHERD_BUDGETS") == "1" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch(), "mustherd-budgets")
