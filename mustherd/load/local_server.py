"""A whole experiment on one machine: a server of any kind, and the node that it makes.

A muster's configuration chooses it with a table `[process]`. In that a table of the server's name (`mustherd.servers`)
holds the server's options, as in `[process.memcached]`, and `[process.generator]` those of the built-in generator, by
which a memcached's node loads itself; a node of another server is loaded from outside. `knobs` names knobs of this
machine that other packages add, and `own` declares some, as `[linux.own]` does (mustherd.node.linux.declaration).
"""

import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from mustherd.errors import repr_of
from mustherd.load import registry
from mustherd.load.error import LoadError
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.memcached.server import Memcached
from mustherd.load.server import MEMCACHED, ServerKind, ServerProcess, WorkerKind, local_options
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.linux.options import Own
from mustherd.node.server.node import Loader, ProcessNode
from mustherd.node.server.process import ServerError
from mustherd.plugins import SERVERS, PluginError, blaming, plugin, said
from mustherd.terms import Load

log = logging.getLogger(__name__)

GENERATOR = "generator"
KNOBS = "knobs"
OWN = "own"


def node(table: Mapping[str, Any], meter: EnergyMeter | None = None) -> ProcessNode:
    """Start a server and make it a node.

    Raises ValueError for options that can't be read, PluginError for a server that isn't installed or can't be loaded,
    LoadError and ServerError for one that doesn't start, NodeError for a knob that can't be used.
    """
    named = [name for name in table if name not in (GENERATOR, KNOBS, OWN)] or [MEMCACHED]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)}: a node has one server")
    found = plugin(SERVERS, named[0])
    kind, given = registry.server_kind(found), msgspec.convert(table.get(named[0], {}), dict[str, Any])
    options = registry.check(found, {**local_options(kind, port=0), **given})
    generator = msgspec.convert(table.get(GENERATOR, {}), GeneratorOptions)
    knobs, missing = _knobs_here(
        msgspec.convert(table.get(KNOBS, ()), tuple[str, ...]), msgspec.convert(table.get(OWN, {}), Own)
    )
    with blaming(f"{found.title} can't be made", (ValueError, LoadError), PluginError):
        server: ServerKind = kind(options)
    try:
        with blaming(f"{found.title} can't be started", (LoadError, ServerError), PluginError):
            server.start()
            address = (server.address.host, server.address.port)
        return ProcessNode(
            (WorkerServer if isinstance(server, WorkerKind) else Server)(server, found.title),
            _loader(server, generator) if isinstance(server, Memcached) else None,
            getattr(options, "cores", ()),
            meter,
            address,
            packages=knobs,
            missing=missing,
        )
    except (LoadError, ServerError, PluginError, OSError):
        _close(server)
        raise


def _close(server: ServerKind) -> None:
    """End it; one that can't be ended costs nothing else: a node is put back after it, or is none yet."""
    try:
        server.close()
    except (Exception, SystemExit) as error:
        log.warning("the server can't be closed: %s", said(error))


def _knobs_here(names: Sequence[str], declared: Own) -> tuple[Sequence[Knob], Mapping[str, str]]:
    if not names and not declared:
        return (), {}
    # What it takes to look at a machine, which a server alone does not.
    from mustherd.node.linux.node import knobs_here  # noqa: PLC0415

    return knobs_here(names, declared, "process")


def _loader(memcached: Memcached, options: GeneratorOptions) -> Loader:
    def start(load: Load, seed: int) -> Generator:
        return Generator(options, [memcached.address], load, seed, counters=memcached.counters)

    return start


class Server:
    """A server of any kind behind the interface of mustherd.node.server.process."""

    def __init__(self, server: ServerKind, title: str) -> None:
        """`title` names it in messages, with its package."""
        self._server = server
        self._title = title

    @property
    def pid(self) -> int:
        return self.threads()[0]

    @property
    def version(self) -> str:
        with self._guarded("say what version it is"):
            told: object = self._server.version
        if not isinstance(told, str):
            raise ServerError(f"{self._title} has version {repr_of(told)}; allowed: text")
        return told

    def threads(self) -> tuple[int, ...]:
        with self._guarded("say what threads it has"):
            found = tuple(map(operator.index, self._server.threads()))
        if not found:
            raise ServerError(f"{self._title} has no threads; allowed: their ids, the process's own first")
        return found

    def pin(self, cores: Sequence[int]) -> None:
        with self._guarded("be pinned"):
            self._server.pin(cores)

    def ended(self) -> str:
        # Not what another package may have under that name.
        return ServerProcess.ended(self._server) if isinstance(self._server, ServerProcess) else ""

    def close(self) -> None:
        _close(self._server)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Whatever a server of another package raises is its own error, and not the muster's."""
        try:
            with blaming(f"{self._title} can't {what}", LoadError, ServerError):
                yield
        except LoadError as error:
            raise ServerError(str(error)) from None


class WorkerServer(Server):
    """One whose worker threads can be set."""

    @property
    def _workers(self) -> WorkerKind:
        return cast(WorkerKind, self._server)

    def asked_workers(self) -> int:
        with self._guarded("say how many workers it was told to have"):
            return self._workers.asked_workers()

    def workers(self) -> int:
        with self._guarded("say how many workers it has"):
            return self._workers.workers()

    def restart(self, workers: int) -> None:
        with self._guarded("be started again"):
            self._workers.restart(workers)
