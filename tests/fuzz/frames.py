"""Frames for every channel: of the protocol's own types with odd values in every field, whole or mutated.

The types are read off the messages themselves, so that a field that is added is fuzzed from then on.
"""

import math
import random
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from mustherd.terms import MAX_VALUE
from mustherd.wire import codec
from mustherd.wire import messages as m
from tests.fuzz import mutate

T = TypeVar("T")

CHANNELS: dict[str, Any] = {
    "pulse": m.Up,
    "log": m.Block | m.Offer,
    "coordinate": m.Call,
    "down": m.Down,
    "credit": m.Credit,
    "control": m.Decision,
}
"""Channel and way to what is sent there: the first three to a shepherd, the others to a muster."""

WHOLE = (0, 1, 2, 3, 5, 100, 2**31, 2**53 - 1, 2**53, MAX_VALUE, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63))
FLOATS = (0.0, -0.0, 1.5, 1e-9, 5e-324, 1e9, 1e12, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "", "a", "muster-1", "muster-2", "node-0", "itr-delay", "dvfs", "by-hand", "0001-1", "etc", "start", "stop",
    "flush", "applied", "restored", "text", "columns", "row", "timestamp", "../../etc/passwd", "x" * 101,
    "é" * 100, "\0", "a\n",
    "<script>", "%2e%2e", "'; DROP TABLE trial; --", "{{ 7 * 7 }}", "\ud7ff", "muster-1;", "x" * 2001,
)  # fmt: skip
ROWS = (b"0 1\n1 2\n", b"", b"\0" * 100, b"9" * 5000, b"-1 2\n", b"1 2", b"a b c\n" * 100, b"9223372036854775807 1\n")
MOST_PARTS = 4
DEPTH = 6


class Frames:
    """Frames without end; equal seeds give equal ones."""

    def __init__(self, seed: int) -> None:
        self._r = random.Random(seed)
        self.epochs: dict[str, int | str] = {}
        """Values for the fields `muster_epoch`, `shepherd_epoch`, `muster`, `spool`, ... by which a peer is taken for
        one that belongs to the herd; mostly used where they are given."""
        self.always: set[str] = set()
        """Of these, the fields that have no other value."""
        self._types = {name: inspect.type_info(kind) for name, kind in CHANNELS.items()}
        self._bodies = {"pulse": inspect.type_info(m.Report), "down": inspect.type_info(m.Order)}
        self._keeps_limits = True
        self._encoder = msgspec.msgpack.Encoder()

    def choice(self, values: Sequence[T]) -> T:
        """One of them."""
        return self._r.choice(values)

    def message(self, channel: str) -> bytes:
        """One message, its fields odd, its shape right."""
        for _ in range(50):
            self._keeps_limits = self._r.random() < 0.7
            try:
                return self._encoder.encode(self._odd(self._types[channel], channel, DEPTH))
            except (ValueError, OverflowError, UnicodeEncodeError, TypeError, RecursionError):
                continue
        return b"\xc0"

    def frames(self, channel: str) -> list[bytes]:
        """What is sent at once: mostly a message, as it is or mutated, of a block its rows too."""
        r = self._r
        message = self.message(channel)
        if r.random() < 0.6:
            message = mutate.of_bytes(r, message, [self.message(channel)])
        if channel == "log" and r.random() < 0.9:
            rows = r.choice((*ROWS, r.randbytes(50), codec.encode(m.RowColumns(first=1, columns={"a": (1.0,)}))))
            return [message, rows]
        if r.random() < 0.02:
            return [message] * r.randrange(2, 6)
        return [message]

    def _odd(self, kind: Any, channel: str, depth: int, name: str = "") -> Any:
        r = self._r
        if name in self.always or (name in self.epochs and r.random() < 0.9):
            return self.epochs[name]
        while isinstance(kind, inspect.Metadata):
            kind = kind.type
        match kind:
            case inspect.BoolType():
                return r.random() < 0.5
            case inspect.IntType():
                return self._within(kind, (*WHOLE, r.getrandbits(r.randrange(1, 63))), 1)
            case inspect.FloatType():
                return self._within(kind, (*FLOATS, r.random() * 1e6, r.random()), 1.0)
            case inspect.StrType():
                return self._text(kind)
            case inspect.NoneType():
                return None
            case inspect.UnionType():
                return self._odd(r.choice(kind.types), channel, depth, name)
            case inspect.TupleType():
                return tuple(self._odd(part, channel, depth - 1) for part in kind.item_types)
            case inspect.VarTupleType() | inspect.ListType():
                count = r.randrange(MOST_PARTS) if depth > 0 else 0
                return tuple(self._odd(kind.item_type, channel, depth - 1) for _ in range(count))
            case inspect.DictType():
                count = r.randrange(MOST_PARTS) if depth > 0 else 0
                return {
                    self._odd(kind.key_type, channel, depth): self._odd(kind.value_type, channel, depth - 1)
                    for _ in range(count)
                }
            case inspect.StructType():
                return self._struct(kind, channel, depth)
            case inspect.RawType():
                body = self._odd(self._bodies.get(channel, inspect.NoneType()), channel, depth - 1)
                return msgspec.Raw(self._encoder.encode(body))
            case inspect.LiteralType():
                return r.choice(kind.values)
        return None

    def _within(self, kind: Any, values: Sequence[float], otherwise: float) -> float:
        """One of the values; in a message that keeps the limits, one that the field allows."""
        if self._keeps_limits:
            low = max((x for x in (kind.ge, kind.gt) if x is not None), default=-math.inf)
            high = min((x for x in (kind.le, kind.lt) if x is not None), default=math.inf)
            values = [value for value in values if low <= value <= high] or [otherwise]
        return self._r.choice(values)

    def _text(self, kind: inspect.StrType) -> str:
        if not self._keeps_limits:
            return self._r.choice(TEXTS)
        least, most = kind.min_length or 0, kind.max_length or 10**6
        fit = [
            text
            for text in TEXTS
            if least <= len(text) <= most and (kind.pattern is None or re.search(kind.pattern, text))
        ]
        return self._r.choice(fit or ["a"])

    def _struct(self, kind: inspect.StructType, channel: str, depth: int) -> dict[str, Any]:
        made = {} if kind.tag is None else {kind.tag_field or "type": kind.tag}
        for field in kind.fields:
            if not field.required and self._r.random() < 0.5:
                continue
            if field.name == "version" and self._r.random() < 0.8:
                made[field.encode_name] = m.PROTOCOL_VERSION
                continue
            made[field.encode_name] = self._odd(field.type, channel, depth - 1, field.name)
        return made
