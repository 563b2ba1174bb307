"""What one peer may make the shepherd hold: no message without an end, no crowd of connections, no fat status."""

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

import psutil
import pytest
import zmq

from mustherd.shepherd.operators import Operators
from mustherd.shepherd.session import MAX_KNOB_VALUES
from mustherd.terms import NODE, Facts, KnobInfo, Setting
from mustherd.wire import codec, inflow
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint
from mustherd.wire.shepherd_endpoint import CALLS_AT_ONCE, ShepherdEndpoint
from mustherd.wire.sockets import HEARTBEAT_MS
from tests.herding import ANY, muster, shepherd
from tests.typed import a
from tests.waiting import PATIENCE_S, until
from tests.wire.test_codec import HELLO
from tests.wire.test_endpoints import say

pytestmark = pytest.mark.herd

ENOUGH_BYTES = 400 * 1024 * 1024
"""Far more than may be taken in, and little enough for the machine that runs this."""


def connect(port: int, kind: bytes = b"DEALER") -> socket.socket:
    """A connection that speaks ZMTP 3.0 by hand, to say what ZeroMQ itself never would."""
    made = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    made.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY" + b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
        for name, value in ((b"Socket-Type", kind), (b"Identity", b"thief"))
    )
    made.sendall(bytes([4, len(ready)]) + ready)
    # Not before the other side is ready too: it would take what comes for a part of the handshake.
    take(made, 64)
    take(made, take(made, 2)[1])
    return made


def take(connection: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        taken += connection.recv(count - len(taken)) or pytest.fail("the connection was ended")
    return taken


def part(content: bytes, *, more: bool) -> bytes:
    if len(content) > 255:
        return bytes([2 | more]) + struct.pack(">Q", len(content)) + content
    return bytes([more, len(content)]) + content


def pour(connection: socket.socket, piece: bytes) -> int:
    """Send it over and over; gives the bytes that went before the connection was ended."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < ENOUGH_BYTES:
            connection.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize("channel", ["pulse", "log", "coordinate"])
@pytest.mark.parametrize("size", [200 * 1024, 100, 0])
def test_a_message_without_an_end_ends_its_connection(channel: str, size: int) -> None:
    with shepherd() as (running, ports), connect(getattr(ports, channel)) as endless:
        piece = part(os.urandom(size), more=True) * max(1, (1 << 20) // (size + 2))
        assert pour(endless, piece) < ENOUGH_BYTES
        assert running.musters() == {}


def test_it_is_said_and_the_herd_does_not_notice(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with shepherd() as (running, ports), muster(ports, tmp_path / "state"):
        until(lambda: "muster-1" in running.musters())
        piece = part(bytes(200 * 1024), more=True)
        with connect(ports.pulse) as endless:
            assert pour(endless, piece) < ENOUGH_BYTES
        assert "a connection to pulse was ended" in caplog.text
        assert running.decide("muster-1", (Setting(NODE, "dvfs", 1300),)).result(PATIENCE_S).outcome == "applied"
        assert running.musters()["muster-1"].times_late == 0


def test_a_connection_that_only_beats_for_days_is_no_message_without_an_end() -> None:
    """As every muster's on control, on which it never says anything."""
    context = zmq.Context()
    listener, idle = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    most = 2000
    watched = inflow.Inflow(listener, "control", most)
    # ZeroMQ's own heartbeat as fast as it can be, and the clock as much faster.
    for one in (listener, idle):
        one.setsockopt(zmq.HEARTBEAT_IVL, 10)
    try:
        port = listener.bind_to_random_port("tcp://127.0.0.1")
        idle.connect(f"tcp://127.0.0.1:{port}")
        began = time.monotonic()
        ended = 0

        def came() -> bool:
            nonlocal ended
            now = (time.monotonic() - began) * HEARTBEAT_MS / 10
            ended += watched.look(now)
            return any((inflow._received(one) or 0) > 3 * most for one in watched._seen) or ended > 0

        until(came)
        assert ended == 0
    finally:
        watched.close()
        context.destroy(linger=0)


def test_a_message_of_a_million_parts_is_one_malformed_frame() -> None:
    with shepherd() as (running, ports), connect(ports.pulse) as odd:
        odd.sendall(part(b"", more=True) * 200_000 + part(b"", more=False))
        operator = OperatorEndpoint("127.0.0.1", ports.coordinate)
        try:
            until(lambda: a(m.Status, operator.call(m.StatusAsk(), PATIENCE_S)).malformed == 1)
        finally:
            operator.close()
        assert running.musters() == {}


def test_what_comes_slowly_but_whole_is_never_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "LOOK_EVERY_S", 0.01)
    with shepherd() as (running, ports), connect(ports.pulse) as slow:
        slow.settimeout(PATIENCE_S)
        fat = part(codec.encode(m.Stranger(version=1)) + bytes(100 * 1024), more=False)
        sent = 0

        def sixty_sent() -> bool:
            nonlocal sent
            slow.sendall(fat)
            sent += 1
            return sent == 60

        until(sixty_sent)  # one a hundredth of a second
        assert running.musters() == {}
        slow.sendall(part(b"\xc1", more=False))
        # Nothing but ZeroMQ's own words came back, and no end.
        slow.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while slow.recv(1 << 16):
                continue
            pytest.fail("the connection was ended")


def test_connections_beyond_what_a_herd_has_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "CONNECTIONS_MOST", 20)
    monkeypatch.setattr(inflow, "LOOK_EVERY_S", 0.01)
    with shepherd() as (running, ports), contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connect(ports.pulse)) for _ in range(30)]

        def ended() -> int:
            count = 0
            for one in crowd:
                one.settimeout(0.01)
                try:
                    while (data := one.recv(4096)) != b"":
                        assert data
                    count += 1
                except TimeoutError:
                    continue
                except ConnectionError:
                    count += 1
            return count

        until(lambda: ended() >= 10)
        assert ended() == 10
        assert running.musters() == {}


def test_a_muster_that_offers_too_many_values_is_refused_with_the_number() -> None:
    fat = KnobInfo(name="k", unit="", sheep=NODE, values=tuple(range(MAX_KNOB_VALUES + 1)))
    with shepherd() as (running, ports):
        end = MusterEndpoint("fat", "127.0.0.1", ports)
        try:
            hello = m.Hello(
                **{
                    **{name: getattr(HELLO, name) for name in HELLO.__struct_fields__},
                    "muster": "fat",
                    "knobs": (fat,),
                }
            )
            say(end, hello)
            found = until(lambda: list(end.receive(0.05)))
            assert f"{MAX_KNOB_VALUES + 1} single values of knobs" in a(m.Refusal, found[0]).reason
        finally:
            end.close()
        assert running.musters() == {}


def view(name: str, text: int) -> m.MusterView:
    return m.MusterView(
        name=name,
        presence="alive",
        silent_s=0.0,
        muster_epoch=1,
        facts=Facts(kind="fat", text={f"f{k}": "x" * 2000 for k in range(text)}),
        knobs=HELLO.knobs,
        zones=HELLO.zones,
        streams=HELLO.streams,
        in_force=0,
        times_late=0,
        unrestored=0,
        answer_ms=None,
        readings=(),
    )


@pytest.mark.parametrize(("text", "left_out"), [(1, ()), (100, ("facts",))])
def test_a_status_of_a_thousand_fat_musters_is_answered_with_what_fits(text: int, left_out: tuple[str, ...]) -> None:
    class Roster:
        def views(self) -> dict[str, m.MusterView]:
            return {f"muster-{k}": view(f"muster-{k}", text) for k in range(1024)}

    class End:
        malformed = 0

    operators = Operators(End(), Roster(), None, experiment="e", folder="f", tell=lambda _: None)  # type: ignore[arg-type]
    status = a(m.Status, operators._status())
    assert status.left_out == left_out
    assert len(status.musters) == 1024
    assert len(codec.encode(m.Answer(number=1, body=status))) <= m.MAX_COORDINATE_BYTES
    assert codec.answer(codec.encode(m.Answer(number=1, body=status))).body == status


def asks(port: int, count: int) -> "tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]]":
    """An operator of its own making, which has asked for the status so many times."""
    context = zmq.Context()
    polling = context.socket(zmq.DEALER)
    polling.setsockopt(zmq.SNDHWM, 0)
    polling.connect(f"tcp://127.0.0.1:{port}")
    for number in range(1, count + 1):
        polling.send(codec.encode(m.Call(number=number, body=m.StatusAsk())))
    return context, polling


def test_one_that_asks_all_the_time_is_answered_a_little_at_a_time_between_beats() -> None:
    """Each answer takes as long as the herd is large: a queue of them must not come before what leases hang on."""
    end = ShepherdEndpoint(ports=ANY)
    context, _ = asks(end.ports.coordinate, 200)
    try:
        rounds: list[int] = []

        def all_came() -> bool:
            rounds.append(len(list(end.receive(0.05))))
            return sum(rounds) == 200

        until(all_came)
        assert max(rounds) <= CALLS_AT_ONCE
    finally:
        context.destroy(linger=0)
        end.close()


def test_answers_that_nobody_reads_are_not_kept() -> None:
    with shepherd() as (running, ports), contextlib.ExitStack() as stack:
        facts = Facts(kind="fat", text={f"f{k}": "x" * 2000 for k in range(100)})
        for number in range(20):
            end = MusterEndpoint(f"fat-{number}", "127.0.0.1", ports)
            stack.callback(end.close)
            fields = {name: getattr(HELLO, name) for name in HELLO.__struct_fields__}
            say(end, m.Hello(**{**fields, "muster": f"fat-{number}", "facts": facts}))
        until(lambda: len(running.musters()) == 20)
        # Nothing but a handshake by hand: nobody reads what is answered.
        polling = stack.enter_context(connect(ports.coordinate))
        before = psutil.Process().memory_info().rss
        # A gigabyte, if each were kept for it.
        for number in range(1, 251):
            polling.sendall(part(codec.encode(m.Call(number=number, body=m.StatusAsk())), more=False))
        operator = OperatorEndpoint("127.0.0.1", ports.coordinate)
        stack.callback(operator.close)
        # Answered in turn: by the time that these are, so are the others.
        for _ in range(260):
            a(m.Status, operator.call(m.StatusAsk(), PATIENCE_S))
        assert psutil.Process().memory_info().rss - before < 256 * 1024 * 1024
