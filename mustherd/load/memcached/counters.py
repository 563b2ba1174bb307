"""memcached's own counters, read over its protocol before and after a window."""

import socket
import struct
from collections.abc import Iterable, Mapping

import msgspec

from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.reasons import Reason

ANSWER_TIMEOUT_S = 2.0
"""A server that takes longer to say how it is, is not well."""
MAX_ANSWER_BYTES = 1024 * 1024

_HEADER = struct.Struct("!BBHBBHIIQ")
_STAT, _VERSION = 0x10, 0x0B
_RUNNING = ("cmd_get", "cmd_set", "get_hits", "get_misses", "evictions", "rejected_connections")


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """A server's counters: totals since its start, or, as a difference, of a window."""

    server_cpu_seconds: float = 0.0
    """User and system time of the whole process, from its rusage. What the kernel receives for it in interrupts is
    charged to whoever was running: on loopback, to the client."""
    cmd_get: int = 0
    cmd_set: int = 0
    get_hits: int = 0
    get_misses: int = 0
    evictions: int = 0
    rejected_connections: int = 0
    curr_connections: int = 0
    """Open connections now; a difference keeps the larger value: at its end a load may have hung up already."""

    def since(self, earlier: "Counters") -> "Counters":
        """What was counted after `earlier`. LoadError when the server was started anew in between."""
        if self.cmd_get < earlier.cmd_get or self.server_cpu_seconds < earlier.server_cpu_seconds:
            raise LoadError(Reason.SERVER_FAILED, "memcached's counters went back: it was started anew in the window")
        return Counters(
            server_cpu_seconds=self.server_cpu_seconds - earlier.server_cpu_seconds,
            curr_connections=max(self.curr_connections, earlier.curr_connections),
            **{name: getattr(self, name) - getattr(earlier, name) for name in _RUNNING},
        )

    def plain(self) -> dict[str, float]:
        """As a load report carries them."""
        return {name: float(value) for name, value in msgspec.structs.asdict(self).items()}


def total(several: Iterable[Counters]) -> Counters:
    """The sum over several servers."""
    sums: dict[str, float] = {}
    for one in several:
        for name, value in msgspec.structs.asdict(one).items():
            sums[name] = sums.get(name, 0) + value
    return msgspec.convert(sums, Counters)


def parse(stats: Mapping[str, str]) -> Counters:
    """Counters from what `stats` answers. LoadError when one is missing or is no number."""
    try:
        return Counters(
            server_cpu_seconds=float(stats["rusage_user"]) + float(stats["rusage_system"]),
            curr_connections=int(stats["curr_connections"]),
            **{name: int(stats.get(name, 0)) for name in _RUNNING},
        )
    except (KeyError, ValueError) as error:
        raise LoadError(Reason.SERVER_MISMATCH, f"memcached's stats can't be read: {error}") from None


def read(address: Address, binary: bool = False) -> Counters:
    """A server's counters now. LoadError when it does not answer."""
    return parse(stats(address, binary=binary))


def stats(address: Address, what: str = "", binary: bool = False) -> dict[str, str]:
    """What the server answers to `stats` or `stats settings`; `binary` for one that only speaks that. LoadError."""
    with _connect(address) as link:
        if binary:
            return dict(_binary(link, address, _STAT, what))
        link.sendall(f"stats {what}".strip().encode() + b"\r\n")
        lines = _until(link, address, b"END\r\n").decode("ascii", "replace").split("\r\n")
    return {parts[1]: parts[2] for parts in (line.split(" ", 2) for line in lines) if len(parts) == 3}


def version(address: Address, binary: bool = False) -> str:
    """The server's version. LoadError."""
    with _connect(address) as link:
        if binary:
            return "".join(text for _, text in _binary(link, address, _VERSION, ""))
        link.sendall(b"version\r\n")
        answer = _until(link, address, b"\r\n").decode("ascii", "replace").strip()
    word, _, number = answer.partition(" ")
    if word != "VERSION":
        raise LoadError(Reason.SERVER_MISMATCH, f"{address} answers {answer[:60]!r}, which is no memcached in ASCII")
    return number


def build(address: Address, binary: bool = False) -> str:
    """What is known of a server's build: its version and those of what it was linked with. LoadError."""
    told = stats(address, binary=binary)
    return ", ".join(f"{name} {told[name]}" for name in ("version", "libevent", "pointer_size") if name in told)


def _connect(address: Address) -> socket.socket:
    try:
        return socket.create_connection((address.host, address.port), timeout=ANSWER_TIMEOUT_S)
    except OSError as error:
        raise LoadError(Reason.SERVER_UNREACHABLE, f"no memcached at {address}: {error.strerror or error}") from None


def _until(link: socket.socket, address: Address, end: bytes) -> bytes:
    answer = b""
    while not answer.endswith(end):
        answer += _receive(link, address)
        if answer.startswith((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")) or len(answer) > MAX_ANSWER_BYTES:
            raise LoadError(Reason.SERVER_MISMATCH, f"{address} answers {answer[:60]!r}")
    return answer


def _receive(link: socket.socket, address: Address) -> bytes:
    try:
        data = link.recv(65536)
    except OSError as error:
        raise LoadError(Reason.SERVER_UNREACHABLE, f"{address} does not answer: {error.strerror or error}") from None
    if not data:
        raise LoadError(Reason.SERVER_UNREACHABLE, f"{address} closed the connection (another protocol, or full)")
    return data


def _binary(link: socket.socket, address: Address, code: int, key: str) -> Iterable[tuple[str, str]]:
    """Key and value of each answer, up to the one without a key. (memcached, docs/protocol-binary)."""
    link.sendall(_HEADER.pack(0x80, code, len(key), 0, 0, 0, len(key), 0, 0) + key.encode())
    data = b""
    while True:
        while len(data) < _HEADER.size:
            data += _receive(link, address)
        magic, _, key_size, extras, _, status, body, _, _ = _HEADER.unpack_from(data)
        if magic != 0x81 or status != 0 or body > MAX_ANSWER_BYTES:
            raise LoadError(Reason.SERVER_MISMATCH, f"{address} answers magic {magic:#x}, status {status}")
        while len(data) < _HEADER.size + body:
            data += _receive(link, address)
        start = _HEADER.size + extras
        name = data[start : start + key_size].decode("ascii", "replace")
        text = data[start + key_size : _HEADER.size + body].decode("ascii", "replace")
        data = data[_HEADER.size + body :]
        if body == 0:
            return
        yield name, text
        if code != _STAT:
            return


def unreachable(servers: Iterable[Address], *, binary: bool) -> list[str]:
    """Servers that don't answer, each with why."""
    problems = []
    for server in servers:
        try:
            read(server, binary)
        except LoadError as error:
            problems.append(error.message)
    return problems
