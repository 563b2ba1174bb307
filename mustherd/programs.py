"""Programs that print an answer: run without a shell, within a time."""

import contextlib
import logging
import os
import re
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mustherd.daemon import killed_with
from mustherd.errors import shown

log = logging.getLogger(__name__)

BUILD_DIGITS = 16
"""Of a program's digest: enough to tell builds apart."""

KILLED_S = 5.0
"""How long a killed program is waited for, at most."""

MOST_PRINTED = 64 << 20
"""Bytes that an answer may have: one without an end would take all memory before its time is over."""

MOST_SAID = 300
"""Characters, the last ones, that an error repeats of what a program said."""


MEANWHILE_S = 0.1
"""Between two calls of what a thread does while it waits for a program."""


class _Waiting(threading.local):
    call: Callable[[], object] | None = None
    told: Callable[[int], object] | None = None


_waiting = _Waiting()


class ProgramError(Exception):
    """A program isn't there, takes too long or fails; the message says which one and how."""


@contextlib.contextmanager
def meanwhile(call: Callable[[], object] | None) -> Iterator[None]:
    """Within, this thread calls it every MEANWHILE_S while it waits for a program, never from within itself."""
    before, _waiting.call = _waiting.call, call
    try:
        yield
    finally:
        _waiting.call = before


@contextlib.contextmanager
def told(tell: Callable[[int], object]) -> Iterator[None]:
    """Within, it gets the group of each program of this thread that runs, and 0 when the program has ended."""
    before, _waiting.told = _waiting.told, tell
    try:
        yield
    finally:
        _waiting.told = before


def printed(
    argv: Sequence[str],
    within_s: float,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    prefix: Sequence[str] = (),
    errors_too: bool = False,
    ends_with_us: bool = False,
) -> str:
    """What a program prints, without the space around it; `errors_too`: and what it says on stderr. ProgramError.

    `environment` is added to this process's own; `folder` is where it runs, this process's by default; `prefix` is a
    command that becomes it, such as setpriv; `ends_with_us` has the kernel kill it where this thread ends before it.
    """
    log.debug("running %s", shlex.join([*prefix, *argv]))
    try:
        process = subprocess.Popen(
            [*prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors_too else subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            process_group=0,
            preexec_fn=killed_with(os.getpid()) if ends_with_us else None,  # noqa: PLW1509 - one system call, no lock
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}") from None
    said: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    tell = _waiting.told or (lambda _: None)
    try:
        tell(process.pid)
        if not _read(process, said, within_s):
            words = last_words(_text(said["err"] or said["out"]))
            took = "has ended, and what it started holds its output" if _over(process) else "takes"
            raise ProgramError(f"{argv[0]} {took} longer than {within_s:g} s: {words}")
        if _length(said) > MOST_PRINTED:
            raise ProgramError(f"{argv[0]} prints too much; allowed: {MOST_PRINTED >> 20} MiB")
    finally:
        if process.returncode is None:
            _end(process)
        tell(0)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
    out, err = said["out"], said["err"]
    if process.returncode:
        raise ProgramError(f"{argv[0]} ended with {process.returncode}: {last_words(_text(err or out))}")
    return _text(out).strip()


def _read(process: "subprocess.Popen[bytes]", said: dict[str, bytearray], within_s: float) -> bool:
    """Take what it prints until it ends, or has printed too much; False where its time is over before."""
    now = time.monotonic()
    until, due = now + within_s, now + MEANWHILE_S
    with selectors.DefaultSelector() as pipes:
        for name, pipe in (("out", process.stdout), ("err", process.stderr)):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ, name)
        while pipes.get_map():
            if (left := until - time.monotonic()) <= 0:
                return False
            for key, _ in pipes.select(left if _waiting.call is None else min(left, MEANWHILE_S)):
                piece = os.read(key.fd, 1 << 16)
                said[key.data] += piece
                if not piece:
                    pipes.unregister(key.fileobj)
            if _length(said) > MOST_PRINTED:
                return True
            if time.monotonic() >= due:
                _do_meanwhile()
                due = time.monotonic() + MEANWHILE_S
    return _ended(process, until)


def _over(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it has ended by itself; it stays to be waited for, so that its group is still its own."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _ended(process: "subprocess.Popen[bytes]", until: float) -> bool:
    """Wait for its end; False where the time is over before."""
    while True:
        left = max(0.0, until - time.monotonic())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(left if _waiting.call is None else min(left, MEANWHILE_S))
            return True
        if left <= MEANWHILE_S:
            return False
        _do_meanwhile()


def pause() -> None:
    """Wait MEANWHILE_S, as for a program."""
    time.sleep(MEANWHILE_S)
    _do_meanwhile()


def _do_meanwhile() -> None:
    call = _waiting.call
    if call is None:
        return
    with meanwhile(None):
        try:
            call()
        except Exception:
            log.exception("what is done while a program runs failed")


def _length(said: Mapping[str, bytearray]) -> int:
    return sum(map(len, said.values()))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it and what it started."""
    # One that became another user, as by sudo, is not ours to kill, and not waited for.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
        _ended(process, time.monotonic() + KILLED_S)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Of a terminal, which a login by ssh may give a program."""


def last_words(text: str) -> str:
    """The last lines of what a program said, in one line that a terminal can show."""
    plain = _COLOURS.sub("", text)
    return shown(" / ".join(plain.strip().splitlines()[-3:])[-MOST_SAID:], MOST_SAID) or "it said nothing"


def _text(output: bytearray) -> str:
    return output.decode("utf-8", "replace")
