"""Lines of a process's log on stderr, and how many of a kind there may be."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO


class Bounded(logging.Filter):
    """Lets so many lines of one kind through in a minute: a peer that errs on and on fills no disk.

    Lines that the same place in the source writes are of one kind. How many were held back is told by the next that
    passes. Critical ones always pass.
    """

    MOST, PERIOD_S = 200, 60.0

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._kinds: dict[tuple[str, int], tuple[float, int]] = {}
        """When the minute of a kind began, and how many lines it has had since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.levelno >= logging.CRITICAL:
            return True
        now, kind = self._now(), (record.pathname, record.lineno)
        began, lines = self._kinds.get(kind, (now, 0))
        if now - began >= self.PERIOD_S:
            if lines > self.MOST:
                record.msg = f"{record.getMessage()} ({lines - self.MOST} more like this were held back)"
                record.args = ()
            began, lines = now, 0
        self._kinds[kind] = (began, lines + 1)
        return lines < self.MOST


LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is when it writes, whoever has taken its place meanwhile."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        """It has none of its own."""


def say_on_stderr(line: str) -> None:
    """Have what loggers let pass written to stderr, a line each, beside whatever a command prints."""
    # A reader of stderr that is gone ends no command.
    logging.raiseExceptions = False
    said = _Stderr()
    said.setFormatter(logging.Formatter(line))
    logging.getLogger().addHandler(said)


def log_to_stderr(level: int) -> None:
    """One line a record, time first; systemd's journal and a file both want it so. What floods it is held back."""
    # A log that can't be written, on a disk that is full say, is told nowhere: not in a traceback in that very log.
    logging.raiseExceptions = False
    logging.basicConfig(level=level, format=LINE, stream=sys.stderr)
    if level > logging.DEBUG:
        for handler in logging.getLogger().handlers:
            handler.addFilter(Bounded())
