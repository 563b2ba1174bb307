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
