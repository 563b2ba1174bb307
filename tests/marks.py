"""What a test's marks mean: which tiers run only when they are named, and what a test may start.

A test that starts processes of ours has the mark `process`, one whose herd lives in threads of its own `herd`; one that
does so without the mark fails, unless it belongs to a tier. Without them tests are pure computation, at most with
files: they can be run beside anything, on any Python.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import zmq

TIERS = {
    "memcached",
    "keeper",
    "servers",
    "vm",
    "testbed",
    "root",
    "machine",
    "kernel",
    "long",
    "night",
    "web",
    "newcomer",
}
"""Marks of tests that need more than this package: they are run where -m names them (make test-TIER)."""

processes: list[str] = []
"""Processes of ours that the test which runs has started, its fixtures included."""
sockets: list[str] = []
"""What it has bound for a herd."""


def is_ours(command: Sequence[str]) -> bool:
    """Whether a command runs our code: a Python, `mustherd`, or a shell that is told to."""
    program = Path(command[0]).name if command else ""
    return (
        program.startswith("python")
        or program == "mustherd"
        or (program in ("sh", "bash") and any("mustherd " in word or "python" in word for word in command[1:]))
    )


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        given = arguments[1]
        command = [given] if isinstance(given, str | bytes) or not isinstance(given, Sequence) else given
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in command]
        if is_ours(words):
            processes.append(" ".join(words)[:200])


def _noted(book: list[str], what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def noting(self: Any, *arguments: Any, **named: Any) -> Any:
        book.append(f"{what} {' '.join(map(str, arguments))}".strip())
        return call(self, *arguments, **named)

    return noting


sys.addaudithook(_audited)
# Neither tells the audit hook: ZeroMQ binds in C, and multiprocessing forks by itself.
setattr(zmq.Socket, "bind", _noted(sockets, "a socket on", zmq.Socket.bind))  # noqa: B010
setattr(BaseProcess, "start", _noted(processes, "a process of multiprocessing", BaseProcess.start))  # noqa: B010


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = TIERS - set(re.findall(r"\w+", config.option.markexpr))
    tiers = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    if tiers:
        config.hook.pytest_deselected(items=tiers)
        items[:] = [item for item in items if item not in set(tiers)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    processes.clear()
    sockets.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    marks = {mark.name for mark in item.iter_markers()}
    if marks & TIERS:
        return result  # a tier's tests start servers, hosts and machines by their nature
    if processes and "process" not in marks:
        pytest.fail(f"it started {processes[0]}: mark it `process`", pytrace=False)
    if sockets and not marks & {"process", "herd"}:
        pytest.fail(f"it bound {sockets[0]}: mark it `herd`", pytrace=False)
    return result
