"""Bytes to typed messages and back; what can't be decoded is counted, never raised."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from mustherd.wire import messages as m

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
encode: Callable[[object], bytes] = _encoder.encode
"""Any message to one frame's bytes."""


def raw(message: object) -> msgspec.Raw:
    """A message as the body of a frame: its type is decided by who reads it."""
    return msgspec.Raw(encode(message))


class Decoder(Generic[T]):
    """Decodes one channel's messages, within a size."""

    def __init__(self, kind: object, max_bytes: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._max_bytes = max_bytes

    def __call__(self, data: bytes | memoryview) -> T:
        """The message in `data`; raises ValueError with the reason."""
        if len(data) > self._max_bytes:
            raise ValueError(f"{len(data)} bytes, more than {self._max_bytes}")
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from None


up: Decoder[m.Up] = Decoder(m.Up, m.MAX_PULSE_BYTES)
stranger: Decoder[m.Stranger] = Decoder(m.Stranger, m.MAX_PULSE_BYTES)
down: Decoder[m.Down] = Decoder(m.Down, m.MAX_PULSE_BYTES)
report: Decoder[m.Report] = Decoder(m.Report, m.MAX_PULSE_BYTES)
order: Decoder[m.Order] = Decoder(m.Order, m.MAX_PULSE_BYTES)
decision: Decoder[m.Decision] = Decoder(m.Decision, m.MAX_CONTROL_BYTES)
block: Decoder[m.Block | m.Offer] = Decoder(m.Block | m.Offer, m.MAX_LOG_BYTES)
row_columns: Decoder[m.RowColumns] = Decoder(m.RowColumns, m.MAX_LOG_BYTES)
credit: Decoder[m.Credit] = Decoder(m.Credit, m.MAX_LOG_BYTES)
call: Decoder[m.Call] = Decoder(m.Call, m.MAX_CALL_BYTES)
answer: Decoder[m.Answer] = Decoder(m.Answer, m.MAX_COORDINATE_BYTES)


class Malformed:
    """Counts frames that did not decode, and logs at most one line a minute about them."""

    LOG_EVERY_S = 60.0

    def __init__(self, log: logging.Logger, now: Callable[[], float]) -> None:
        self.count = 0
        self._log = log
        self._now = now
        self._next_log = -float("inf")

    def add(self, channel: str, sender: str, reason: str) -> None:
        """One more bad frame."""
        self.count += 1
        now = self._now()
        if now >= self._next_log:
            self._next_log = now + self.LOG_EVERY_S
            self._log.warning(
                "malformed frame on %s from %s dropped (%d so far): %.200s", channel, sender, self.count, reason
            )
