"""What memcached servers say of themselves: their counters, and how long a few requests of ours take."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from mustherd.keep.source import Sample, SourceError
from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.counters import Counters
from mustherd.wire.messages import MusterView

KEY = b"mustherd-probe"
TIMEOUT_S = 2.0


class CountersOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Load by the servers' own counters, at the addresses that the nodes tell."""


class CountersSource:
    """Requests a second of each node's server."""

    def __init__(self, _options: CountersOptions, musters: Callable[[], Mapping[str, MusterView]]) -> None:
        self._musters = musters
        self._before: dict[str, tuple[float, Counters]] = {}

    def read(self) -> Sequence[Sample]:
        found = []
        for name, view in self._musters().items():
            if view.facts.address is None:
                continue
            try:
                seen = counters.read(Address(*view.facts.address))
            except LoadError as error:
                self._before.pop(name, None)
                raise SourceError(f"{name}: {error}") from None
            now = time.monotonic()
            before = self._before.get(name)
            self._before[name] = now, seen
            count = seen.cmd_get + seen.cmd_set
            if before is None or count < before[1].cmd_get + before[1].cmd_set:
                continue
            rate = (count - before[1].cmd_get - before[1].cmd_set) / max(1e-3, now - before[0])
            found.append(Sample(name, "load", rate))
        return found

    def close(self) -> None:
        self._before.clear()


class ProbeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency by requests of our own, one after another over one connection to each server."""

    percentile: Annotated[float, Meta(gt=0, lt=100)] = 99.0
    requests: Annotated[int, Meta(ge=10, le=100_000)] = 200
    """Of each frame."""
    pause_us: Annotated[float, Meta(ge=0, le=1e6)] = 1000.0
    """Between two of them."""


class ProbeSource:
    """A percentile of what reads take, in us."""

    def __init__(self, options: ProbeOptions, musters: Callable[[], Mapping[str, MusterView]]) -> None:
        self._options = options
        self._musters = musters
        self._links: dict[tuple[str, int], socket.socket] = {}

    def read(self) -> Sequence[Sample]:
        found = []
        for name, view in self._musters().items():
            if view.facts.address is not None:
                found.append(Sample(name, "latency", self._probe(name, view.facts.address)))
        return found

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _probe(self, name: str, address: tuple[str, int]) -> float:
        took = []
        try:
            link = self._links.get(address)
            if link is None:
                link = self._links[address] = socket.create_connection(address, timeout=TIMEOUT_S)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(self._options.requests):
                began = time.perf_counter()
                link.sendall(b"get " + KEY + b"\r\n")
                answer = b""
                while not answer.endswith(b"END\r\n"):
                    data = link.recv(4096)
                    if not data:
                        raise ConnectionError("it closed the connection")
                    answer += data
                took.append(time.perf_counter() - began)
                time.sleep(self._options.pause_us / 1e6)
        except OSError as error:
            broken = self._links.pop(address, None)
            if broken is not None:
                broken.close()
            raise SourceError(f"{name}: the probe of {address[0]}:{address[1]} failed: {error}") from None
        took.sort()
        place = min(len(took) - 1, int(len(took) * self._options.percentile / 100))
        return took[place] * 1e6
