"""What may come in: only messages of the closed set, whole and within their bounds."""

import logging
import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.terms import Facts, KnobInfo, Load, Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from tests.typed import a

Decode = Callable[[bytes], object]
DECODERS: list[Decode] = [
    codec.up,
    codec.stranger,
    codec.down,
    codec.report,
    codec.order,
    codec.decision,
    codec.block,
    codec.credit,
    codec.call,
    codec.answer,
]

HELLO = m.Hello(
    version=m.PROTOCOL_VERSION,
    muster="muster-1",
    muster_epoch=1,
    facts=Facts(kind="twin"),
    knobs=(KnobInfo(name="dvfs", sheep="node-0", unit="MHz", low=1200, high=2600),),
    zones=(),
    streams=("power-node-0",),
    groups=(),
    lease_s=3.0,
    sent_s=0.0,
)
BEAT = m.MusterBeat(muster_epoch=1, shepherd_epoch=1, in_force=0, ack=0, reports=0)
DECISION = m.Decision(shepherd_epoch=1, seq=1, issued_s=0, ttl_s=1, settings=(Setting("node-0", "dvfs", 1200),))

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=10,
)


def refused(decode: Decode, data: bytes) -> None:
    try:
        message = decode(data)
    except ValueError:
        return
    assert isinstance(message, msgspec.Struct)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    for decode in DECODERS:
        refused(decode, data)


@settings(max_examples=150, deadline=None)
@given(value=values, tag=st.sampled_from(["hello", "mbeat", "frame", "welcome", "sbeat", "block", "call", "decision"]))
def test_messagepack_of_other_types_is_refused(value: object, tag: str) -> None:
    for decode in DECODERS:
        refused(decode, msgspec.msgpack.encode(value))
        refused(decode, msgspec.msgpack.encode({"type": tag, "muster_epoch": value, "body": value, "version": value}))


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10**6), byte=st.integers(0, 255), which=st.sampled_from([HELLO, BEAT, DECISION]))
def test_a_message_with_one_byte_changed_is_a_message_or_a_value_error(
    position: int, byte: int, which: msgspec.Struct
) -> None:
    data = bytearray(codec.encode(which))
    data[position % len(data)] = byte
    for decode in DECODERS:
        refused(decode, bytes(data))
        refused(decode, bytes(data[: position % len(data)]))


def test_deep_nesting_is_refused() -> None:
    for opening in (b"\x91", b"\x81\xa1a"):
        for decode in DECODERS:
            with pytest.raises(ValueError, match=r"\w"):
                decode(opening * 50_000 + b"\xc0")
    for start in (b"\x82\xa4type\xa5mbeat\xa1z", b"\x82\xa4type\xa5frame\xa4body"):
        with pytest.raises(ValueError, match="recursion"):
            codec.up(start + b"\x91" * 100_000 + b"\xc0")


def test_lengths_that_lie_are_refused() -> None:
    for header in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        for decode in DECODERS:
            with pytest.raises(ValueError, match=r"\w"):
                decode(header)


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="more than"):
        codec.up(b"\xc0" * (m.MAX_PULSE_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"muster": "Muster"},
        {"muster": "muster-1\n"},
        {"muster": "../etc"},
        {"muster": "m" * 64},
        {"muster": ""},
        {"muster_epoch": 0},
        {"muster_epoch": -1},
        {"muster_epoch": 2**53},
        {"facts": Facts(kind="twin", text={"k": "v" * 2001})},
        {"facts": Facts(kind="twin", text={str(k): "" for k in range(257)})},
        {"facts": Facts(kind="twin", plausible_watts=(float("nan"), None))},
        {"facts": Facts(kind="twin", plausible_watts=(1.0, float("inf")))},
        {"facts": Facts(kind="twin", tsc_khz=0)},
        {"facts": Facts(kind="twin", address=("localhost", 65536))},
        {"facts": Facts(kind="")},
        {"knobs": (KnobInfo(name="k", unit="us", sheep="s", hex_shift=64),)},
        {"knobs": (KnobInfo(name="k", unit="us", sheep="s", hex_scale=-1),)},
        {"knobs": (KnobInfo(name="k", unit="us", sheep="s", range_step=0),)},
        {"knobs": (KnobInfo(name="k", unit="us", sheep="s", scale="cubic"),)},  # type: ignore[arg-type]
        {"knobs": (KnobInfo(name="k", unit="us", sheep="s", role="magic"),)},  # type: ignore[arg-type]
        {"lease_s": float("nan")},
        {"lease_s": float("inf")},
        {"sent_s": float("nan")},
        {"streams": ("x" * 101,)},
        {"groups": ("a;b",)},
    ],
)
def test_a_hello_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        codec.up(codec.encode(msgspec.structs.replace(HELLO, **change)))
    assert codec.up(codec.encode(HELLO)) == HELLO


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, -1.0, 1e13])
@pytest.mark.parametrize("field", ["qps", "seconds", "first", "last", "update_ratio"])
def test_a_load_that_nobody_can_offer_is_refused(field: str, odd: float) -> None:
    """A twin once stepped through a piece of infinite seconds."""
    whole = {"qps": 1.0, "seconds": 1.0, "first": 1.0, "last": 2.0, "update_ratio": 0.5}

    def order(values: dict[str, float]) -> bytes:
        piece = (values["seconds"], values["first"], values["last"])
        load = Load(qps=values["qps"], update_ratio=values["update_ratio"], curve=(piece,))
        return codec.encode(
            m.Measure(measure=1, settle_s=0.0, ramp_s=0.0, window_s=1.0, load=load, seed=1, label="0001-1")
        )

    assert codec.order(memoryview(order(whole)))
    with pytest.raises(ValueError, match="float"):
        codec.order(memoryview(order({**whole, field: odd})))


def test_a_hello_of_any_version_can_be_told_from_noise() -> None:
    other = {"type": "hello", "version": 99, "something": ["else"]}
    assert codec.stranger(msgspec.msgpack.encode(other)) == m.Stranger(version=99)


def test_malformed_frames_are_all_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    malformed = codec.Malformed(logging.getLogger("test"), lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for second in range(0, 130, 10):
            now[0] = float(second)
            malformed.add("pulse", "somebody", "x" * 1000)
    assert malformed.count == 13
    assert [a(tuple, r.args)[2] for r in caplog.records] == [1, 7, 13]
    assert all(len(r.getMessage()) < 400 for r in caplog.records)
