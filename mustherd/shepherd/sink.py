"""Where log blocks go at the shepherd: something that makes them durable."""

from collections.abc import Callable
from typing import Protocol

from mustherd.wire import messages as m


class LogSink(Protocol):
    """Takes blocks in the shepherd's thread and says later, from any thread, up to where they are safe.

    None of its methods may wait for a disk; all are called in the shepherd's thread.
    """

    @property
    def log(self) -> int:
        """The number of the log that is written, the same in every life of its shepherd; at least 1."""
        ...

    def attach(self, durable: Callable[[str, int, int], None]) -> None:
        """Call `durable(muster, spool, number)`, from any thread, when blocks up to that number are safe."""
        ...

    def met(self, hello: m.Hello) -> None:
        """A muster joined: these are its node's facts and units."""
        ...

    def watermark(self, muster: str, spool: int) -> int:
        """Number of the last block of that spool that a former life made durable; 0 for one never seen."""
        ...

    def put(self, muster: str, block: m.Block, rows: memoryview) -> None:
        """The spool's next block. May raise for one that can't be taken at all: it will not come again."""
        ...
