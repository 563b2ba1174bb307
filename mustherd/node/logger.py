"""The native logger: the thing on a node that produces rows."""

from typing import Protocol

import msgspec


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A run of rows as columns of equal length; `first` is the number of the first row since the stream began."""

    first: int
    columns: dict[str, tuple[float, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


class NativeLogger(Protocol):
    """A named stream of rows of one sheep.

    Guarantees: rows come in order, each once, numbered by the source. Does not guarantee that the source kept
    everything: what it lost shows as a gap between one read's end and the next one's `first`.
    """

    @property
    def stream(self) -> str:
        """The stream's name on its node, such as `power-node-0`."""
        ...

    def flush(self) -> None:
        """Throw away what has piled up; the next row read is one made after this call."""
        ...

    def read(self) -> Rows:
        """All rows since the last read or flush; may be empty."""
        ...


class TextLogger(Protocol):
    """A stream whose source writes its rows as lines of unsigned numbers, too many of them to be looked at one by one.

    The first column, `i`, numbers the rows since the source was last emptied. Reading takes rows away: there must be
    one reader.
    """

    @property
    def stream(self) -> str:
        """The stream's name on its node, such as `ixgbe-log-core-3`."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """What the numbers of a line are, in order, with units in the names where there are any."""
        ...

    @property
    def rewinds(self) -> bool:
        """A pass that was not read to its end begins anew with its first row; else reading goes on where it was."""
        ...

    @property
    def capacity(self) -> int:
        """Rows that the source holds; with so many it stops logging until it is read to the end. 0: nobody knows."""
        ...

    @property
    def waits(self) -> bool:
        """A source that is full makes its writer wait: nothing is lost by reading later."""
        ...

    def read_into(self, room: memoryview) -> int:
        """Put what comes next at the start of `room`, of at least 64 KiB; gives its length in bytes.

        0: the pass is over, and what was read is gone from the source. Lines may be cut anywhere between two calls.
        Raises LoggerError.
        """
        ...

    def close(self) -> None:
        """Give descriptors back; a pass that was under way is not over."""
        ...


class LoggerError(Exception):
    """A source could not be read; the message says which and why."""
