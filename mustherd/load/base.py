"""The port behind which every load looks alike: the twin's, mutilate's and the built-in generator's."""

from collections.abc import Sequence
from typing import Protocol

from mustherd.load.errors import LoadError
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.memcached.counters import Address, read
from mustherd.node.node import RunningLoad
from mustherd.terms import Load


class LoadSource(Protocol):
    """Offers loads to a server, one at a time.

    A trial goes: `start`, wait for the ramp, `open_window`, wait for the window, `close_window`; what lies between the
    two is what the report is about, on CLOCK_MONOTONIC of this machine or, for a twin, on the twin's clock. Either may
    wait: `open_window` until the load is under way, `close_window` until it has been counted up. `stop` at any time.
    """

    def prepare(self) -> None:
        """Once, before the first load: agents up, records stored. LoadError."""
        ...

    def start(self, load: Load, seed: int) -> RunningLoad:
        """Offer `load`; another one that runs is ended first. LoadError."""
        ...

    def stop(self) -> None:
        """End the load and all that `prepare` started; harmless when nothing runs."""
        ...

    def check(self) -> Sequence[str]:
        """What keeps loads from being offered or measured, each in a sentence; empty when all is well."""
        ...


class GeneratorSource:
    """The built-in generator on this machine, against servers that it reaches."""

    def __init__(self, options: GeneratorOptions, servers: Sequence[Address]) -> None:
        self._options = options
        self._servers = tuple(servers)
        self._running: Generator | None = None

    def prepare(self) -> None:
        pass

    def start(self, load: Load, seed: int) -> Generator:
        self.stop()
        self._running = Generator(self._options, self._servers, load, seed)
        return self._running

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def check(self) -> Sequence[str]:
        return unreachable(self._servers, binary=self._options.protocol == "binary")


def unreachable(servers: Sequence[Address], *, binary: bool) -> list[str]:
    """Servers that don't answer, each with why."""
    problems = []
    for server in servers:
        try:
            read(server, binary)
        except LoadError as error:
            problems.append(error.message)
    return problems
