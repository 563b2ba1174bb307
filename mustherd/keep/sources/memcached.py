"""What memcached servers say of themselves: their counters, and how long a few requests of ours take."""

import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from mustherd.keep.source import Musters, Sample, SourceError, gathered
from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.counters import Counters
from mustherd.plugins import NoOptions
from mustherd.wire.messages import MusterView

KEY = b"mustherd-probe"
TIMEOUT_S = 2.0


class CountersSource:
    """`memcached`: load, as requests a second by each server's own counters, at the addresses that the nodes tell."""

    Options = NoOptions

    def __init__(self, _options: NoOptions, musters: Musters) -> None:
        self._musters = musters
        self._before: dict[str, tuple[float, Counters]] = {}

    def read(self) -> Sequence[Sample]:
        return gathered([partial(self._rate, *one) for one in _addresses(self._musters()).items()])

    def close(self) -> None:
        self._before.clear()

    def _rate(self, node: str, address: Address) -> Sample | None:
        """Since it was asked before; None where it wasn't, or its counters were set anew."""
        before = self._before.pop(node, None)
        try:
            seen = counters.read(address)
        except LoadError as error:
            raise SourceError(f"{node}: {error}") from None
        now = time.monotonic()
        self._before[node] = now, seen
        if before is None:
            return None
        answered = seen.cmd_get + seen.cmd_set - before[1].cmd_get - before[1].cmd_set
        return Sample(node, "load", answered / max(1e-3, now - before[0])) if answered >= 0 else None


class ProbeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency by requests of our own, one after another over one connection to each server."""

    percentile: Annotated[float, Meta(gt=0, lt=100)] = 99.0
    requests: Annotated[int, Meta(ge=10, le=100_000)] = 200
    """Of each frame."""
    pause_us: Annotated[float, Meta(ge=0, le=1e6)] = 1000.0
    """Between two of them."""


class ProbeSource:
    """`memcached-probe`: a percentile of what reads take, in us."""

    Options = ProbeOptions

    def __init__(self, options: ProbeOptions, musters: Musters) -> None:
        self._options = options
        self._musters = musters
        self._links: dict[Address, socket.socket] = {}

    def read(self) -> Sequence[Sample]:
        return gathered([partial(self._probe, *one) for one in _addresses(self._musters()).items()])

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _probe(self, node: str, address: Address) -> Sample:
        took = []
        try:
            link = self._links.get(address)
            if link is None:
                where = address.host, address.port
                link = self._links[address] = socket.create_connection(where, timeout=TIMEOUT_S)
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
            raise SourceError(f"{node}: the probe of {address} failed: {error}") from None
        took.sort()
        place = min(len(took) - 1, int(len(took) * self._options.percentile / 100))
        return Sample(node, "latency", took[place] * 1e6)


def _addresses(views: Mapping[str, MusterView]) -> dict[str, Address]:
    """Muster to its server, of those that tell one."""
    return {name: Address(*view.facts.address) for name, view in views.items() if view.facts.address is not None}
