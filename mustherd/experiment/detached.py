"""An experiment that goes on without the terminal that started it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mustherd.errors import UserError
from mustherd.store.errors import StoreError
from mustherd.store.store import Store

LOG = "start.log"
"""What the command that was left behind says, in the experiment's folder."""
POLL_S = 0.05


class DetachedError(UserError):
    """It ended before it ran; the message is what it said."""

    def __init__(self, said: str, code: int) -> None:
        super().__init__(said)
        self.exit_code = code


def start(folder: Path, words: Sequence[str]) -> Path:
    """Run `mustherd experiment start` with `words` into `folder` in a session of its own; gives its log.

    Gives back when the experiment runs, or is over already. Raises DetachedError with what it said and its exit code
    where it ended before that.
    """
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{folder.name}-", suffix=".log", dir=parent)
    except OSError as error:
        raise StoreError(f"{folder} can't be made: {error.strerror or error}") from error
    log = Path(name)
    command = [sys.executable, "-m", "mustherd", "experiment", "start", *words, "--into", str(folder)]
    try:
        with os.fdopen(number, "wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        while not _runs(folder):
            if process.poll() is not None:
                if process.returncode == 0:
                    break
                raise DetachedError(_said(log), process.returncode if process.returncode > 0 else 3)
            time.sleep(POLL_S)
        # It writes on in the file that it has open.
        return log.replace(folder / LOG)
    finally:
        log.unlink(missing_ok=True)


def _runs(folder: Path) -> bool:
    """Whether somebody runs the experiment in `folder`."""
    try:
        with Store.open(folder, read_only=True) as store:
            return store.owner() is not None
    except StoreError:
        return False


def _said(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text.removeprefix("mustherd: ") or "it ended without a word"
