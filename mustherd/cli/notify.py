"""`--notify`: a command of the user's when an experiment has ended."""

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mustherd.result import Result

PATIENCE_S = 60
"""For the command: nobody waits longer for a message to be sent."""


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
        subprocess.run(
            [*words, verdict or status, folder], env={**os.environ, **told}, check=True, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        typer.echo(f"mustherd: --notify: {error}", err=True)
