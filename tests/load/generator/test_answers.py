from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.generator.answers import ProtocolError, parser
from mustherd.load.generator.requests import HEADER
from mustherd.load.generator.tally import Tally

KINDS = ("hit", "miss", "stored", "read-error", "store-error")


def answer(protocol: str, kind: str, value: bytes) -> bytes:
    if protocol == "ascii":
        return {
            "hit": b"VALUE key 0 %d\r\n%b\r\nEND\r\n" % (len(value), value),
            "miss": b"END\r\n",
            "stored": b"STORED\r\n",
            "read-error": b"SERVER_ERROR out of memory\r\n",
            "store-error": b"SERVER_ERROR out of memory storing object\r\n",
        }[kind]
    opcode = 1 if kind in ("stored", "store-error") else 0
    status = {"miss": 1, "read-error": 0x82, "store-error": 0x82}.get(kind, 0)
    body, extras = {"hit": (bytes(4) + value, 4), "stored": (b"", 0)}.get(kind, (b"Not well", 0))
    return HEADER.pack(0x81, opcode, 0, extras, 0, status, len(body), 0, 0) + body


answers = st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=60)), max_size=30)


@pytest.mark.parametrize("protocol", ["binary", "ascii"])
@given(data=st.data(), given_answers=answers)
def test_answers_are_counted_once_however_they_are_cut(
    protocol: str, data: st.DataObject, given_answers: list[tuple[str, bytes]]
) -> None:
    stream = b"".join(answer(protocol, kind, value) for kind, value in given_answers)
    pending = deque(
        (k + 1.0) * (-1 if kind in ("stored", "store-error") else 1) for k, (kind, _) in enumerate(given_answers)
    )
    tally, buffer, parse = Tally(), bytearray(8192), parser(protocol)
    fill = at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, 200))
        piece = stream[at : at + size]
        at += len(piece)
        buffer[fill : fill + len(piece)] = piece
        fill += len(piece)
        used = parse(buffer, fill, pending, 1000.0, tally)
        buffer[: fill - used] = buffer[used:fill]
        fill -= used
    assert fill == 0
    assert not pending
    kinds = [kind for kind, _ in given_answers]
    reads = [k for k, kind in enumerate(kinds) if kind in ("hit", "miss", "read-error")]
    updates = [k for k in range(len(kinds)) if k not in reads]
    assert list(tally.reads.values) == [1000.0 - (k + 1) for k in reads]
    assert list(tally.updates.values) == [1000.0 - (k + 1) for k in updates]
    assert len(tally.misses.values) == kinds.count("miss")
    assert len(tally.errors.values) == kinds.count("read-error") + kinds.count("store-error")


@pytest.mark.parametrize(
    ("protocol", "stream", "pending"),
    [
        ("binary", b"\x80" + bytes(23), [1.0]),
        ("binary", b"\x81" + bytes(23), []),
        ("ascii", b"STORED\r\n", []),
        ("ascii", b"STORED\r\n", [1.0]),
        ("ascii", b"END\r\n", [-1.0]),
        ("ascii", b"VALUE key 0 much\r\n", [1.0]),
        ("ascii", b"VALUE key 0 2\r\nabcdefghi", [1.0]),
        ("ascii", b"HTTP/1.1 400 Bad Request\r\n", [1.0]),
    ],
)
def test_what_is_no_answer(protocol: str, stream: bytes, pending: list[float]) -> None:
    with pytest.raises(ProtocolError):
        parser(protocol)(bytearray(stream), len(stream), deque(pending), 5.0, Tally())
