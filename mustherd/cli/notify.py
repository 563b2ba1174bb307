"""`--notify`: a command of the user's when an experiment has ended."""

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from typing import IO, TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from mustherd.result import Result

PATIENCE_S = 60
"""For the command: nobody waits longer for a message to be sent."""

LOOK_S = 0.05
"""Between two looks whether it has ended."""

MOST_BYTES = 4096
"""Kept of what it says on stderr, the last ones."""


def words_of(command: str | None) -> list[str]:
    """The command's words; none where there is none. Usage error for an open quote, no words, no program."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--notify") from None
    if not words:
        raise typer.BadParameter("name a command, such as 'notify-send MustHerd'", param_hint="--notify")
    if shutil.which(words[0]) is None:
        raise typer.BadParameter(f"{words[0]!r}: no such program is found here", param_hint="--notify")
    return words


def run_notice(words: list[str], result: "Result") -> None:
    """Run it, with how the experiment stands as its last words and in the environment; what fails is told, and no more.

    Its words are passed as they are: no shell reads them, nor the folder's name.
    """
    status, folder = result.status, str(result.folder)
    verdict = result.verdict.verdict if status == "done" else ""
    told = {"MUSTHERD_STATUS": status, "MUSTHERD_FOLDER": folder, "MUSTHERD_VERDICT": verdict}
    try:
        fault, said = _ended([*words, verdict or status, folder], {**os.environ, **told})
    except (OSError, ValueError) as error:
        fault, said = str(error), ""
    if fault or said:
        typer.echo(f"mustherd: --notify: {': '.join(part for part in (fault, said) if part)}", err=True)


def _ended(words: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """What was wrong with the command, '' of one that ended well; and the last of what it said on stderr.

    One that takes too long is killed with all of its process group, which is its own. One that ended may leave
    something in the background, as who shows a notice does. Raises OSError and ValueError where it can't be started.
    """
    said = b""
    with subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        process_group=0,
    ) as process:  # fmt: skip
        errors = cast("IO[bytes]", process.stderr)
        try:
            end = time.monotonic() + PATIENCE_S
            while (left := end - time.monotonic()) > 0:
                over = process.poll() is not None
                if select.select([errors], [], [], 0 if over else min(left, LOOK_S))[0]:
                    block = os.read(errors.fileno(), 1 << 16)
                    said = (said + block)[-MOST_BYTES:]
                    over = over and not block
                if over:
                    break
        finally:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    from mustherd.programs import last_words

    words_said = last_words(said.decode("utf-8", "replace")) if said.strip() else ""
    if left <= 0:
        return f"{words[0]} took longer than {PATIENCE_S:g} s and was ended with what it started", words_said
    return (f"{words[0]} ended with {code}" if code else ""), words_said
