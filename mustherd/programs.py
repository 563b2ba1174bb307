"""Programs that print an answer: run without a shell, within a time."""

import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mustherd.errors import shown

log = logging.getLogger(__name__)

BUILD_DIGITS = 16
"""Of a program's digest: enough to tell builds apart."""

KILLED_S = 5.0
"""How long a killed program is waited for, at most."""

MOST_SAID = 300
"""Characters, the last ones, that an error repeats of what a program said."""


class ProgramError(Exception):
    """A program isn't there, takes too long or fails; the message says which one and how."""


def printed(
    argv: Sequence[str],
    within_s: float,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    prefix: Sequence[str] = (),
    errors_too: bool = False,
) -> str:
    """What a program prints, without the space around it; `errors_too`: and what it says on stderr. ProgramError.

    `environment` is added to this process's own; `folder` is where it runs, this process's by default; `prefix` is a
    command that becomes it, such as setpriv.
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
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}") from None
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired as late:
        said = last_words(_text(late.stderr or late.stdout))
        raise ProgramError(f"{argv[0]} takes longer than {within_s:g} s: {said}") from None
    finally:
        if process.returncode is None:
            _end(process)
    if process.returncode:
        raise ProgramError(f"{argv[0]} ended with {process.returncode}: {last_words(_text(err or out))}")
    return _text(out).strip()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it and what it started."""
    # One that became another user, as by sudo, is not ours to kill, and not waited for.
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(KILLED_S)
    for pipe in filter(None, (process.stdout, process.stderr)):
        pipe.close()


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Of a terminal, which a login by ssh may give a program."""


def last_words(text: str) -> str:
    """The last lines of what a program said, in one line that a terminal can show."""
    plain = _COLOURS.sub("", text)
    return shown(" / ".join(plain.strip().splitlines()[-3:])[-MOST_SAID:], MOST_SAID) or "it said nothing"


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
