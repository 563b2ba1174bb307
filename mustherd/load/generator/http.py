"""HTTP/1.1 with connections kept alive: the request, how its answers are taken apart, and the load `http`."""

import re
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import msgspec

from mustherd.load.address import Address
from mustherd.load.base import ANY, LoadTraits, Site
from mustherd.load.generator.answers import ProtocolError
from mustherd.load.generator.generator import Generator
from mustherd.load.generator.options import GeneratorOptions
from mustherd.load.generator.source import GeneratorSource, RampedLoad
from mustherd.load.generator.tally import Tally
from mustherd.load.memcached.counters import Counters
from mustherd.terms import Load, LoadReport

REACH_S = 2.0
MOST_HEAD_BYTES = 64 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*(?=\r\n)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*(?=\r\n)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
WITHOUT_BODY = (204, 304)


def request(server: Address, path: str) -> bytes:
    """One request for a page."""
    host = str(server) if server.port != 80 else str(server).rpartition(":")[0]
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mustherd\r\nAccept: */*\r\n\r\n".encode(
        "ascii", "replace"
    )


def answers(buffer: bytearray, fill: int, pending: deque[float], now: float, tally: Tally) -> int:
    """Keeps the contract of mustherd.load.generator.answers.Parser. From status 400 on an answer is an error."""
    at = 0
    while at < fill:
        head_end = buffer.find(b"\r\n\r\n", at, fill)
        if head_end < 0:
            if fill - at > MOST_HEAD_BYTES:
                raise ProtocolError("an answer's head is longer than 64 KiB")
            break
        head = bytes(buffer[at : head_end + 2])
        status = _STATUS.match(head)
        if status is None or not pending:
            raise ProtocolError(f"no answer, or one to nothing: {head[:40]!r}")
        code = int(status[1])
        if code < 200:
            at = head_end + 4  # what comes before the answer itself
            continue
        end = _end(buffer, head, head_end + 4, fill, code)
        if end is None:
            break
        if _CLOSE.search(head):
            raise ProtocolError(f"the server closes each connection (status {code}): it must keep them alive")
        tally.reads.values.append(now - pending.popleft())
        tally.reads.ends.append(now)
        if code >= 400:
            tally.erred(now)
        at = end
    return at


def _end(buffer: bytearray, head: bytes, body: int, fill: int, code: int) -> int | None:
    """Where an answer whose body begins at `body` ends; None where that hasn't come yet."""
    if code in WITHOUT_BODY:
        return body
    if length := _LENGTH.search(head):
        end = body + int(length[1])
        return end if end <= fill else None
    if not _CHUNKED.search(head):
        raise ProtocolError(f"an answer without Content-Length that isn't chunked (status {code})")
    while True:
        line_end = buffer.find(b"\r\n", body, fill)
        if line_end < 0:
            return None
        try:
            size = int(bytes(buffer[body:line_end]).partition(b";")[0].strip() or b"x", 16)
        except ValueError:
            raise ProtocolError(f"no size of a chunk: {bytes(buffer[body : body + 20])!r}") from None
        body = line_end + 2 + size + 2
        if body > fill:
            return None
        if size == 0:
            return body


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How pages are asked for. How many connections there are at most is the definition's `outstanding`, too: each has
    one request under way."""

    path: Annotated[str, msgspec.Meta(pattern=r"^/[!-~]*$", max_length=2000)] = "/"
    connections: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """Of each worker."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    blocking: bool = True
    cores: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()


class HttpSource(GeneratorSource):
    """The built-in generator, open-loop, on any server of HTTP/1.1 that keeps connections alive."""

    Options = HttpOptions  # type: ignore[assignment]
    traits: ClassVar[LoadTraits] = LoadTraits(servers=(ANY,), open_loop=True, follows_curves=True)

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, str]:  # noqa: ARG004
        """Its own metrics."""
        return {"failed_requests": "less"}

    def __init__(self, site: Site, options: HttpOptions) -> None:
        super().__init__(
            site,
            GeneratorOptions(
                protocol="http", path=options.path, connections=options.connections, workers=options.workers,
                blocking=options.blocking, cores=options.cores, records=1, preload=False, arrivals="exponential",
            ),
        )  # fmt: skip

    def start(self, load: Load, seed: int) -> "HttpLoad":
        self.stop()
        # What a server of HTTP counts nobody knows; its node counts its CPU time.
        self._running = Generator(
            self._options, self._servers, msgspec.structs.replace(load, update_ratio=0.0), seed, counters=Counters
        )
        return HttpLoad(self._running, self._ramp_end())

    def builds(self) -> dict[str, str]:
        """None: servers of HTTP have no way of their own to say what they are, and the generator is this program's."""
        return {}

    def check(self) -> Sequence[str]:
        """Servers that take no connection."""
        problems = []
        for server in self._servers:
            try:
                socket.create_connection((server.host, server.port), timeout=REACH_S).close()
            except OSError as error:
                problems.append(f"nothing listens at {server}: {error.strerror or error}")
        return problems


class HttpLoad(RampedLoad):
    """One of them under way."""

    def close_window(self) -> LoadReport:
        report = super().close_window()
        nobodys = Counters().plain().keys()
        return msgspec.structs.replace(
            report,
            counters={name: value for name, value in report.counters.items() if name not in nobodys},
            metrics={"failed_requests": report.counters.get("errors", 0.0)},
        )
