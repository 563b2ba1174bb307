"""intlog on this machine: /proc/ixgbe_stats/core/N, one file a queue, each emptied by the read that reaches its end.

Below another root than / the files may be FIFOs, which are emptied by reading, or plain files, which are emptied
(truncated) at their end as the driver empties its buffer: what is written between the last read and that is lost.
"""

import os
import stat

from mustherd.node.intlog import CAPACITY, COLUMNS, stream_of
from mustherd.node.linux.tree import Tree, TreeError, wrapped
from mustherd.node.logger import LoggerError

PIPE_ROWS = 512
"""That a FIFO is sure to hold: 64 KiB of rows."""

FOLDER = "proc/ixgbe_stats/core"


class Intlog:
    """One core's log; keeps the contract of mustherd.node.logger.TextLogger."""

    columns = COLUMNS

    def __init__(self, tree: Tree, core: int) -> None:
        """Raises LoggerError where there is no such file."""
        self.stream = stream_of(core)
        self._path = f"{FOLDER}/{core}"
        self._file = tree.root / self._path
        self._descriptor = -1
        self._over = False
        """The end was reached, and the source emptied, by a call that had rows to give as well."""
        try:
            mode = self._file.stat().st_mode
        except OSError as error:
            raise LoggerError(str(wrapped(self._path, error))) from None
        self.rewinds = not stat.S_ISFIFO(mode)
        self.waits = not self.rewinds
        self.capacity = CAPACITY if self.rewinds else PIPE_ROWS
        self._truncates = not tree.is_this_machine and stat.S_ISREG(mode)

    def read_into(self, room: memoryview) -> int:
        if self._over:
            self._over = False
            return 0
        filled = 0
        try:
            if self._descriptor < 0:
                flags = os.O_RDWR if self._truncates or not self.rewinds else os.O_RDONLY
                self._descriptor = os.open(self._file, flags | os.O_NONBLOCK | os.O_CLOEXEC)
            # The driver's file gives a page at a time.
            while filled < len(room):
                with room[filled:] as rest:
                    count = os.readv(self._descriptor, [rest])
                if count == 0:
                    self._end_pass()
                    self._over = filled > 0
                    break
                filled += count
        except BlockingIOError:
            pass
        except OSError as error:
            self.close()
            # What has been read is handed over all the same; the error will show again.
            if not filled:
                raise LoggerError(str(wrapped(self._path, error))) from None
        return filled

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _end_pass(self) -> None:
        # At once: a second look at the end would empty the source of rows that nobody has seen.
        if self._truncates:
            os.ftruncate(self._descriptor, 0)
        if self.rewinds:
            self.close()


def find(tree: Tree) -> tuple[tuple[Intlog, ...], str]:
    """The logs of all cores, and why there are none."""
    try:
        names = tree.names(FOLDER)
    except TreeError as error:
        return (), f"the intlog driver is not loaded: {error}"
    found = []
    for name in names:
        if name.isascii() and name.isdecimal():
            try:
                found.append(Intlog(tree, int(name)))
            except LoggerError as error:
                return (), str(error)
    return tuple(found), "" if found else f"/{FOLDER} is empty"
