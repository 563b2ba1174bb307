"""A whole experiment on one machine: a memcached, the built-in generator, and the node that both make.

A muster's configuration chooses it with a table `[process]`, whose keys are those of `LocalOptions`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mustherd.load.errors import LoadError
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.memcached import counters
from mustherd.load.memcached.server import Memcached, MemcachedOptions
from mustherd.node.energy import EnergyMeter
from mustherd.node.server.node import ProcessNode
from mustherd.node.server.process import ServerError
from mustherd.terms import Load


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[process]`. The cores of `memcached` are those that the server may be given."""

    memcached: MemcachedOptions = MemcachedOptions(port=0)
    generator: GeneratorOptions = GeneratorOptions()


def node(table: Mapping[str, Any], meter: EnergyMeter | None = None) -> ProcessNode:
    """Start a memcached and make it a node. ValueError for options that can't be read; LoadError, ServerError."""
    options = msgspec.convert(table, LocalOptions)
    memcached = Memcached(options.memcached)
    address = memcached.address

    def loader(load: Load, seed: int) -> Generator:
        return Generator(options.generator, [address], load, seed, counters=memcached.counters)

    try:
        memcached.start()
        return ProcessNode(Server(memcached), loader, options.memcached.cores, meter, (address.host, address.port))
    except (LoadError, ServerError):
        memcached.close()
        raise


class Server:
    """A memcached behind the port of mustherd.node.server.process."""

    def __init__(self, memcached: Memcached) -> None:
        self._memcached = memcached

    @property
    def pid(self) -> int:
        with _as_server_error():
            return self._memcached.threads()[0]

    @property
    def version(self) -> str:
        with _as_server_error():
            return f"memcached {counters.version(self._memcached.address, self._memcached.binary)}"

    def threads(self) -> tuple[int, ...]:
        with _as_server_error():
            return self._memcached.threads()

    def asked_workers(self) -> int:
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            return int(words[words.index("-t") + 1])
        except (OSError, ValueError, IndexError) as error:
            raise ServerError(f"memcached's command line can't be read: {error}") from None

    def workers(self) -> int:
        with _as_server_error():
            settings = counters.stats(self._memcached.address, "settings", self._memcached.binary)
        try:
            return int(settings["num_threads"])
        except (KeyError, ValueError) as error:
            raise ServerError(f"memcached's settings can't be read: {error}") from None

    def restart(self, workers: int) -> None:
        with _as_server_error():
            self._memcached.restart(workers)

    def pin(self, cores: Sequence[int]) -> None:
        with _as_server_error():
            self._memcached.pin(cores)

    def close(self) -> None:
        self._memcached.close()


@contextmanager
def _as_server_error() -> Iterator[None]:
    try:
        yield
    except LoadError as error:
        raise ServerError(str(error)) from None
