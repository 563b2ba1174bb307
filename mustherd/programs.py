"""Programs that print an answer: run without a shell, within a time."""

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mustherd.errors import shown

log = logging.getLogger(__name__)

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
        done = subprocess.run(
            [*prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors_too else subprocess.PIPE,
            timeout=within_s,
            check=False,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as late:
        said = last_words(_text(late.stderr or late.stdout))
        raise ProgramError(f"{argv[0]} takes longer than {within_s:g} s: {said}") from None
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}") from None
    if done.returncode:
        raise ProgramError(f"{argv[0]} ended with {done.returncode}: {last_words(_text(done.stderr or done.stdout))}")
    return _text(done.stdout).strip()


def last_words(text: str) -> str:
    """The last lines of what a program said, in one line that a terminal can show."""
    return shown(" / ".join(text.strip().splitlines()[-3:])[-MOST_SAID:], MOST_SAID) or "it said nothing"


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
