"""The process that this node is about."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class ServerError(Exception):
    """The server can't be asked or changed; the message says what happened."""


class Server(Protocol):
    """A server process. Every method raises ServerError when it doesn't run or doesn't answer."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def version(self) -> str:
        """Name and version, as it says itself."""
        ...

    def threads(self) -> tuple[int, ...]:
        """Ids of all its threads."""
        ...

    def pin(self, cores: Sequence[int]) -> None:
        """Let all its threads run on `cores` alone, also after a restart."""
        ...

    def ended(self) -> str:
        """How it ended by itself; '' as long as it runs, or where that isn't known. Raises nothing."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@runtime_checkable
class WorkerServer(Server, Protocol):
    """A server whose number of worker threads can be set. ServerError as above."""

    def asked_workers(self) -> int:
        """Worker threads that it was told to have."""
        ...

    def workers(self) -> int:
        """Worker threads that it says it has."""
        ...

    def restart(self, workers: int) -> None:
        """Start it again with another number of worker threads, on the same cores."""
        ...
