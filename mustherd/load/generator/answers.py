"""Takes answers apart, as many as came at once; the inner loop of the generator."""

import struct
from collections import deque
from typing import Protocol

from mustherd.load.generator.tally import Tally


class ProtocolError(Exception):
    """The server's bytes are not what its protocol allows."""


class Parser(Protocol):
    """Counts the whole answers at the start of `buffer[:fill]`.

    `pending` holds when the latency of each request began, oldest first and negative for updates; answered ones are
    taken off. Returns how many bytes were used up. Raises ProtocolError.
    """

    def __call__(self, buffer: bytearray, fill: int, pending: deque[float], now: float, tally: Tally) -> int: ...


def parser(protocol: str) -> Parser:
    """The parser of `binary`, `ascii` or `http`."""
    if protocol == "http":
        from mustherd.load.generator.http import answers  # noqa: PLC0415 (http is built on this)

        return answers
    return binary if protocol == "binary" else ascii_text


_STATUS_AND_BODY = struct.Struct("!xxxxxxHI").unpack_from


def binary(buffer: bytearray, fill: int, pending: deque[float], now: float, tally: Tally) -> int:
    """Answers of the binary protocol: a header of 24 bytes that says how long its body is."""
    at = 0
    take, reads, updates = pending.popleft, tally.reads, tally.updates
    add_read, end_read, add_update, end_update = (
        reads.values.append,
        reads.ends.append,
        updates.values.append,
        updates.ends.append,
    )
    while fill - at >= 24:
        status, body = _STATUS_AND_BODY(buffer, at)
        end = at + 24 + body
        if end > fill:
            break
        if buffer[at] != 0x81 or not pending:
            raise ProtocolError(f"an answer to nothing, or no answer: {bytes(buffer[at : at + 24])!r}")
        due = take()
        if due > 0:
            add_read(now - due)
            end_read(now)
            if status == 1:  # a key that isn't there
                tally.missed(now)
            elif status:
                tally.erred(now)
        else:
            add_update(now + due)
            end_update(now)
            if status:
                tally.erred(now)
        at = end
    return at


def ascii_text(buffer: bytearray, fill: int, pending: deque[float], now: float, tally: Tally) -> int:
    """Answers of the ASCII protocol to `get` of one key and to `set`."""
    at = 0
    find = buffer.find
    while at < fill:
        line_end = find(b"\r\n", at, fill)
        if line_end < 0:
            break
        end = line_end + 2
        if not pending:
            raise ProtocolError(f"an answer to nothing: {bytes(buffer[at : at + 24])!r}")
        due = pending[0]
        first = buffer[at]
        bad = missed = False
        if due > 0 and first == 0x56:  # VALUE key flags length, the value, END
            try:
                length = int(buffer[buffer.rfind(b" ", at, line_end) + 1 : line_end])
            except ValueError:
                raise ProtocolError(f"no answer: {bytes(buffer[at : at + 24])!r}") from None
            end += length + 7
            if end > fill:
                break
            if buffer[end - 5 : end] != b"END\r\n":
                raise ProtocolError(f"an answer without its end: {bytes(buffer[end - 5 : end])!r}")
        elif due > 0 and buffer[at:end] == b"END\r\n":
            missed = True
        elif due > 0 or buffer[at:end] != b"STORED\r\n":
            bad = True
            if not buffer.startswith((b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR", b"NOT_STORED"), at):
                raise ProtocolError(f"no answer: {bytes(buffer[at : at + 24])!r}")
        pending.popleft()
        if due > 0:
            tally.reads.values.append(now - due)
            tally.reads.ends.append(now)
        else:
            tally.updates.values.append(now + due)
            tally.updates.ends.append(now)
        if missed:
            tally.missed(now)
        elif bad:
            tally.erred(now)
        at = end
    return at
