#!/usr/bin/python3
"""A build that has a name: it runs once, is waited for by whoever asks for it again, and ends at its time limit.

    python3 - run NAME --state DIR --log FILE --limit SECONDS [--chdir DIR] -- COMMAND ...
    python3 - begin (the same)
    python3 - wait NAME --state DIR

It runs in a session of its own, so that it goes on when whoever asked is interrupted. The next one that asks for the
same waits for it instead of starting a second in the same tree; who asks for something else under its name waits first.
`begin` waits for nothing: it starts it, or leaves alone what runs there. `run` waits for what `begin` started while
that runs; once it has ended, however that was, it starts it again, in the same tree and with its whole limit.
Exit code 0, or 1 with what went wrong on stderr. Only the standard library: it runs on a bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import argparse
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LATE = "took longer than its limit"
KILL_AFTER_S = 10.0
CAUSE = rf"{LATE}|No space left|: not found$|: command not found$|: (fatal )?error: |^ld: |Killed|\*\*\*"
"""What a line of a build's log looks like that says why it failed; names of files with `error` in them don't."""


def cause(lines: str) -> str:
    """The first lines of a build's log that say why it failed: its limit, a full disk, what is missing, then errors."""
    found = [line.strip() for line in lines.splitlines() if re.search(CAUSE, line)]
    for pattern in (LATE, r"No space left", r"(command )?not found$", r": (fatal )?error: |^ld: |Killed", r"\*\*\*"):
        telling = [line for line in found if re.search(pattern, line)]
        if telling:
            # make's own word says where, and the line before it what: a program's message of no known form.
            odd = pattern == r"\*\*\*" and re.search(r"\] Error \d", telling[0])
            before = [_before(lines, telling[0])] if odd else []
            return "; ".join(dict.fromkeys([*filter(None, before), *telling[:3]]))[:600]
    return ""


def _before(lines: str, line: str) -> str:
    """The line before that one; empty where there is none."""
    said = [one.strip() for one in lines.splitlines() if one.strip()]
    place = said.index(line)
    return said[place - 1][:200] if place else ""


def key_of(command: Sequence[str], folder: str) -> str:
    """What is the same for the same build."""
    return hashlib.sha256(json.dumps([list(command), folder]).encode()).hexdigest()


def locked(lock: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock; None when another process has it and it isn't waited for."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def record(file: Path) -> dict[str, object]:
    """What is known of the last build of this name."""
    try:
        found: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def write(file: Path, **content: object) -> None:
    """A full disk costs the record, not the build."""
    try:
        part = file.with_suffix(".part")
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(file)
    except OSError:
        file.unlink(missing_ok=True)


def supervise(command: Sequence[str], options: argparse.Namespace, key: str, file: Path) -> int:
    """Run it to its end or its limit; what it prints goes to the log. Gives its exit code."""
    with options.log.open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                cwd=options.chdir or None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"{command[0]}: {error.strerror}: not found\n".encode())
            write(file, key=key, code=127)
            return 127
        write(file, key=key, pid=process.pid, began=time.time())
        try:
            code = process.wait(options.limit)
        except subprocess.TimeoutExpired:
            code = 124
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(KILL_AFTER_S)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            log.write(f"\n{options.name} {LATE} of {options.limit:g} s, and was ended\n".encode())
    write(file, key=key, code=code)
    return code


def start(command: Sequence[str], options: argparse.Namespace, key: str, file: Path, lock: int) -> None:
    """In a process of its own, which holds the lock until it is done."""
    write(file, key=key)
    if os.fork():
        os.close(lock)
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    code = 1
    try:
        code = supervise(command, options, key, file)
    finally:
        os._exit(code and 1)


def run(command: Sequence[str], options: argparse.Namespace) -> int:
    """Start it, or wait for the one that runs; gives the exit code."""
    file, lock = options.state / f"{options.name}.build.json", options.state / f"{options.name}.lock"
    key = key_of(command, options.chdir)
    own = locked(lock, wait=False)
    attached = own is None and record(file).get("key") == key
    if options.verb == "begin":
        if own is not None:
            start(command, options, key, file, own)
        return 0
    if own is None:
        print("it runs already: waiting for it" if attached else "another build runs there: waiting", flush=True)  # noqa: T201
    if not attached:
        lock_held = own if own is not None else locked(lock, wait=True)
        assert lock_held is not None  # noqa: S101 (a lock that is waited for is had)
        start(command, options, key, file, lock_held)
    # Had once the build is done.
    done = locked(lock, wait=True)
    result = record(file)
    if done is not None:
        os.close(done)
    if result.get("key") == key and result.get("code") == 0:
        return 0
    try:
        text = options.log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        text = f"{options.log}: {error.strerror}"
    last = "; ".join([line.strip() for line in text.splitlines() if line.strip()][-3:])
    print(cause(text) or last or "it was killed without a word", file=sys.stderr)  # noqa: T201
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="mustherd-build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("run", "begin", "wait"))
    parser.add_argument("name")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--limit", type=float, default=3600.0)
    parser.add_argument("--chdir", default="")
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[words.index("--") + 1 :] if "--" in words else []
    options = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    builds = options.verb != "wait"
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", options.name) or (builds and not (command and options.log)):
        parser.error("a name, and for run and begin --log FILE and -- COMMAND")
    if builds:
        options.state.mkdir(parents=True, exist_ok=True)
        return run(command, options)
    lock = options.state / f"{options.name}.lock"
    descriptor = locked(lock, wait=False) if lock.exists() else -1
    if descriptor is None:
        print("a build is under way: waiting for it", flush=True)  # noqa: T201
        descriptor = locked(lock, wait=True)
    if descriptor is not None and descriptor >= 0:
        os.close(descriptor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
