"""The four channels over real sockets on loopback."""

import logging
import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from mustherd.terms import Setting
from mustherd.wire import codec, keys
from mustherd.wire import messages as m
from mustherd.wire.endpoints import CREDITS_AT_MOST, MusterEndpoint, OperatorEndpoint, WireError, new_session
from mustherd.wire.keys import Keys, KeysError
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint
from tests.herding import ANY, shepherd
from tests.typed import a
from tests.waiting import until
from tests.wire.test_codec import BEAT, HELLO

BLOCK = m.Block(
    muster_epoch=1, shepherd_epoch=1, spool=1, seq=1, label="0001-1", stream="s", form="text", columns=("a", "b")
)

pytestmark = pytest.mark.herd
OFFER = m.Offer(muster_epoch=1, shepherd_epoch=1, spool=1, first=1)


@contextmanager
def ends(
    *names: str, shepherd_keys: Keys | None = None, muster_keys: Keys | None = None
) -> Iterator[tuple[ShepherdEndpoint, list[MusterEndpoint]]]:
    central = ShepherdEndpoint(ports=ANY, keys=shepherd_keys)
    musters = []
    try:
        for name in names:
            musters.append(MusterEndpoint(name, "127.0.0.1", central.ports, muster_keys))
        yield central, musters
    finally:
        for end in musters:
            end.close()
        central.close()


def arrives(end: MusterEndpoint | ShepherdEndpoint, count: int = 1, patience_s: float = 10.0) -> list[Any]:
    """The next messages at an end."""
    found: list[Any] = []
    deadline = time.monotonic() + patience_s
    while len(found) < count and time.monotonic() < deadline:
        found += list(end.receive(0.05))
    assert len(found) >= count, f"{found} in {patience_s} s"
    return found


def nothing_arrives(end: MusterEndpoint | ShepherdEndpoint, seconds: float = 0.4) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert list(end.receive(0.05)) == []


def say(end: MusterEndpoint, message: m.Up) -> None:
    until(lambda: end.send_pulse(message))


def test_pulse_goes_both_ways_under_the_musters_name() -> None:
    with ends("muster-1", "muster-10") as (central, (one, ten)):
        say(one, BEAT)
        assert arrives(central) == [Received("muster-1", None, BEAT)]
        say(ten, HELLO)
        assert arrives(central) == [Received("muster-10", None, HELLO)]
        assert central.send_pulse("muster-1", m.WhoAreYou())
        assert arrives(one) == [m.WhoAreYou()]
        nothing_arrives(ten)
        assert not central.send_pulse("muster-2", m.WhoAreYou())


def test_log_goes_up_and_credit_down() -> None:
    with ends("muster-1") as (central, (one,)):
        until(lambda: one.send_block(BLOCK, b"1 2\n"))
        [received] = arrives(central)
        assert (received.sender, received.message, bytes(received.payload)) == ("muster-1", BLOCK, b"1 2\n")
        assert one.send_offer(OFFER)
        assert arrives(central) == [Received("muster-1", None, OFFER)]
        credit = m.Credit(muster_epoch=1, shepherd_epoch=1, spool=1, ack=1, got=2, window=65)
        assert central.send_credit("muster-1", credit)
        assert arrives(one) == [credit]


def test_a_beat_does_not_wait_behind_credits_however_fast_they_come() -> None:
    credit = m.Credit(muster_epoch=1, shepherd_epoch=1, spool=1, ack=0, got=0, window=0)
    with ends("muster-1") as (central, [end]):
        say(end, BEAT)
        until(lambda: end.send_block(BLOCK, b"x"))
        arrives(central, 2)
        assert central.send_credit("muster-1", credit)
        before = 0
        for message in (message for _ in range(1000) for message in end.receive(0.05)):
            if isinstance(message, m.ShepherdBeat):
                break
            if not before:
                assert central.send_pulse(
                    "muster-1", m.ShepherdBeat(muster_epoch=1, shepherd_epoch=1, ack=0, sent_s=0.0, wanted=0)
                )
            # As fast as they are taken others come.
            for _ in range(1 if before else 100):
                assert central.send_credit("muster-1", credit)
            if not before:
                assert end._pulse.poll(10_000), "the beat and credits wait beside each other"
            before += 1
        assert before <= CREDITS_AT_MOST + 1


def test_a_decision_reaches_the_muster_or_group_that_it_is_for_and_no_other() -> None:
    central = ShepherdEndpoint(ports=ANY)
    one = MusterEndpoint("muster-1", "127.0.0.1", central.ports)
    ten = MusterEndpoint("muster-10", "127.0.0.1", central.ports)
    try:
        for end, groups in ((one, ("rack-1",)), (ten, ("rack-1", "rack-10"))):
            say(end, BEAT)
            central.welcome(arrives(central)[0], groups)
        for target, for_one, for_ten in [
            ("muster-1", True, False),
            ("muster-10", False, True),
            ("rack-1", True, True),
            ("rack-10", False, True),
            ("muster", False, False),
        ]:
            decision, last = (
                m.Decision(shepherd_epoch=1, seq=new_session(), issued_s=0, ttl_s=1, settings=()) for _ in range(2)
            )
            got: dict[MusterEndpoint, list[m.Down | m.Credit | m.Decision]] = {one: [], ten: []}
            # The channel keeps its order: once both have the last one, nothing older is under way.
            for _ in range(1000):
                central.publish(target, decision)
                central.publish("rack-1", last)
                for end, messages in got.items():
                    messages += list(end.receive(0.01))
                if all(last in messages for messages in got.values()):
                    break
            assert last in got[one]
            assert last in got[ten]
            assert (decision in got[one], decision in got[ten]) == (for_one, for_ten), target
    finally:
        one.close()
        ten.close()
        central.close()


def test_nothing_is_queued_for_a_shepherd_that_is_not_there() -> None:
    central = ShepherdEndpoint(ports=ANY)
    ports = central.ports
    central.close()
    one = MusterEndpoint("muster-1", "127.0.0.1", ports)
    try:
        assert not any(one.send_pulse(BEAT) for _ in range(100))
        assert not one.send_block(BLOCK, b"")
        central = ShepherdEndpoint(ports=ports)
        try:
            nothing_arrives(central)
            say(one, BEAT)
            assert len(arrives(central)) == 1
        finally:
            central.close()
    finally:
        one.close()


def test_a_muster_that_starts_again_takes_its_name_over() -> None:
    with ends("muster-1") as (central, (one,)):
        say(one, BEAT)
        arrives(central)
        again = MusterEndpoint("muster-1", "127.0.0.1", central.ports)
        try:
            say(again, HELLO)
            arrives(central)
            # Not before it is welcome: until then what is for that name goes where it went.
            central.send_pulse("muster-1", m.WhoAreYou())
            assert arrives(one) == [m.WhoAreYou()]
            say(again, HELLO)
            [hello] = arrives(central)
            assert central.reply(hello, m.WhoAreYou())
            assert arrives(again) == [m.WhoAreYou()]
            central.welcome(hello)
            central.send_pulse("muster-1", m.WhoAreYou())
            assert arrives(again) == [m.WhoAreYou()]
            nothing_arrives(one)
        finally:
            again.close()


@contextmanager
def stranger(port: int, kind: int = zmq.DEALER, name: bytes = b"muster-1") -> "Iterator[zmq.Socket[bytes]]":
    """A socket that speaks ZeroMQ and nothing else of ours."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTING_ID, name)
        socket.connect(f"tcp://127.0.0.1:{port}")
        yield socket
    finally:
        context.destroy(linger=0)


def test_malformed_frames_are_counted_logged_once_and_never_fatal(caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(1)
    bad = [[dice.randbytes(dice.randrange(60))] for _ in range(150)]
    bad += [[codec.encode(BEAT)] * 2, [b""] * 5, [b"\x91" * 60_000], [msgspec.msgpack.encode({"type": "mbeat"})]]
    bad += [[codec.encode(BEAT) + b"\x00"], [b"\xc0" * (m.MAX_PULSE_BYTES + 1)], [codec.encode(BLOCK)]]
    with caplog.at_level(logging.WARNING), ends() as (central, _), stranger(central.ports.pulse) as odd:
        for frames in bad:
            odd.send_multipart(frames)
        odd.send(codec.encode(BEAT))
        assert arrives(central) == [Received("muster-1", None, BEAT)]
        assert central.malformed == len(bad)
    assert len([r for r in caplog.records if "malformed" in r.message]) == 1


@pytest.mark.parametrize("channel", ["log", "coordinate"])
def test_malformed_frames_on_the_other_channels(channel: str) -> None:
    with ends() as (central, _), stranger(getattr(central.ports, channel), name=b"\xff\xfe odd") as odd:
        odd.send(b"\xc1")
        odd.send_multipart([b"a", b"b", b"c"])
        if channel == "log":
            odd.send(codec.encode(BLOCK))
            odd.send_multipart([codec.encode(OFFER), b"rows"])
            odd.send_multipart([codec.encode(BLOCK), bytes(m.MAX_LOG_BYTES + 1)])
        good = OFFER if channel == "log" else m.Call(number=1, body=m.StatusAsk())
        odd.send(codec.encode(good))
        (received,) = arrives(central)
        assert received.message == good
        assert received.sender.encode("latin-1") == received.route == b"\xff\xfe odd"
        assert central.malformed == (5 if channel == "log" else 2)


def test_far_too_large_a_frame_ends_its_connection_and_nothing_else() -> None:
    with ends("muster-2") as (central, (two,)), stranger(central.ports.pulse) as odd:
        odd.send(b"\xc0" * (m.MAX_PULSE_BYTES * 3))
        say(two, BEAT)
        assert arrives(central) == [Received("muster-2", None, BEAT)]
        # The stranger's socket connects again by itself; what is sent before that may be lost with the old connection.
        found: list[object] = []

        def arrived() -> bool:
            odd.send(codec.encode(BEAT))
            found.extend(central.receive(0.1))
            return bool(found)

        until(arrived)
        assert found[0] == Received("muster-1", None, BEAT)


def test_a_muster_survives_a_shepherd_that_talks_nonsense() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        sockets = [context.socket(zmq.ROUTER) for _ in range(3)]
        pulse, log, control = (s.bind_to_random_port("tcp://127.0.0.1") for s in sockets)
        one = MusterEndpoint("muster-1", "127.0.0.1", Ports(pulse, log, control, 1))
        try:
            say(one, BEAT)
            sender, _ = sockets[0].recv_multipart()
            for frames in ([b"\xc1"], [b"a", b"b"], [codec.encode(BLOCK)]):
                sockets[0].send_multipart([sender, *frames])
            sockets[0].send_multipart([sender, codec.encode(m.WhoAreYou())])
            assert arrives(one) == [m.WhoAreYou()]
            assert one.malformed == 3
            until(lambda: (sockets[2].send_multipart([sender, b"x"]), list(one.receive(0.02)), one.malformed > 3)[2])
        finally:
            one.close()
    finally:
        context.destroy(linger=0)


def test_another_protocol_version_is_refused_with_both_numbers() -> None:
    with shepherd() as (running, ports), stranger(ports.pulse) as old:
        old.send(msgspec.msgpack.encode({"type": "hello", "version": 77, "name": "of long ago"}))
        assert old.poll(10_000)
        refusal = codec.down(old.recv())
        assert isinstance(refusal, m.Refusal)
        assert "77" in refusal.reason
        assert str(m.PROTOCOL_VERSION) in refusal.reason
        assert running.musters() == {}


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        (b"muster-2", {}, "connected as muster-2"),
        (b"muster-1", {"knobs": HELLO.knobs * 2}, "twice"),
        (b"muster-1", {"knobs": (msgspec.structs.replace(HELLO.knobs[0], step=0),)}, "step"),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(name: bytes, change: dict[str, object], why: str) -> None:
    with shepherd() as (running, ports), stranger(ports.pulse, name=name) as odd:
        odd.send(codec.encode(msgspec.structs.replace(HELLO, **change)))
        assert odd.poll(10_000)
        assert why in a(m.Refusal, codec.down(odd.recv())).reason
        assert running.musters() == {}


def test_an_accepted_key_gets_in_an_unknown_one_does_not(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1"])
    keys.create(tmp_path, ["muster-2"], accept=False)
    central = ShepherdEndpoint(ports=ANY, keys=keys.for_shepherd(tmp_path))
    musters = [
        MusterEndpoint("muster-1", "127.0.0.1", central.ports, keys.for_member(tmp_path, "muster-1")),
        MusterEndpoint("muster-2", "127.0.0.1", central.ports, keys.for_member(tmp_path, "muster-2")),
        MusterEndpoint("muster-3", "127.0.0.1", central.ports),
    ]
    try:
        # The shepherd's own loop decides who gets in.
        until(lambda: (list(central.receive(0.01)), musters[0].send_pulse(BEAT))[1])
        assert arrives(central) == [Received("muster-1", "muster-1", BEAT)]
        for other in musters[1:]:
            other.send_pulse(BEAT)
        nothing_arrives(central, 0.6)
        assert not central.send_pulse("muster-2", m.WhoAreYou())
        assert central.send_pulse("muster-1", m.WhoAreYou())
        assert arrives(musters[0]) == [m.WhoAreYou()]
    finally:
        for end in musters:
            end.close()
        central.close()


def test_a_muster_does_not_talk_to_a_shepherd_with_another_key(tmp_path: Path) -> None:
    keys.create(tmp_path / "true", ["shepherd", "muster-1"])
    keys.create(tmp_path / "false", ["shepherd"])
    (tmp_path / "false" / "accepted" / "muster-1.key").write_bytes(
        (tmp_path / "true" / "accepted" / "muster-1.key").read_bytes()
    )
    central = ShepherdEndpoint(ports=ANY, keys=keys.for_shepherd(tmp_path / "false"))
    one = MusterEndpoint("muster-1", "127.0.0.1", central.ports, keys.for_member(tmp_path / "true", "muster-1"))
    try:
        one.send_pulse(BEAT)
        nothing_arrives(central, 0.6)
    finally:
        one.close()
        central.close()


def test_a_key_stands_for_one_name_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1", "muster-2", "operator"])
    with shepherd(keys=keys.for_shepherd(tmp_path)) as (running, ports):
        own = keys.for_member(tmp_path, "muster-1")
        other = keys.for_member(tmp_path, "muster-2")
        true = MusterEndpoint("muster-1", "127.0.0.1", ports, own)
        false = MusterEndpoint("muster-2", "127.0.0.1", ports, own)
        operator = OperatorEndpoint("127.0.0.1", ports.coordinate, keys.for_member(tmp_path, "operator"))
        muster = OperatorEndpoint("127.0.0.1", ports.coordinate, own)
        try:
            say(true, HELLO)
            assert isinstance(arrives(true)[0], m.Welcome)
            say(false, msgspec.structs.replace(HELLO, muster="muster-2"))
            (refusal,) = arrives(false)
            assert "its key was accepted for 'muster-1', not for muster-2" in refusal.reason
            assert other.public != own.public
            say(false, BEAT)
            until(lambda: a(m.Status, operator.call(m.StatusAsk())).malformed)
            assert [x.name for x in a(m.Status, operator.call(m.StatusAsk())).musters] == ["muster-1"]
            with pytest.raises(WireError, match="the shepherd doesn't accept this key"):
                muster.call(m.StopAsk())
            assert list(running.musters()) == ["muster-1"]
        finally:
            for end in (true, false, operator, muster):
                end.close()


def test_an_address_in_use_is_said_so() -> None:
    with ends() as (central, _), pytest.raises(WireError, match="is another shepherd running"):
        ShepherdEndpoint(ports=Ports(central.ports.pulse, 0, 0, 0))


def test_an_address_that_makes_no_sense_is_said_so(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1"])
    own = keys.for_member(tmp_path, "muster-1")
    with pytest.raises(WireError, match="cannot connect to tcp://no such host"):
        MusterEndpoint("muster-1", "no such host", Ports(), own)
    with pytest.raises(WireError, match="cannot connect"):
        OperatorEndpoint("no such host", 1, own)


def test_keys_of_the_listening_side_do_not_connect(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "operator"])
    with pytest.raises(KeysError, match="no shepherd to talk to"):
        MusterEndpoint("muster-1", "127.0.0.1", Ports(), keys.for_shepherd(tmp_path))


def test_an_operator_without_a_shepherd_gives_up() -> None:
    with ends() as (central, _):
        port = central.ports.coordinate
    operator = OperatorEndpoint("127.0.0.1", port)
    try:
        with pytest.raises(WireError, match="no shepherd answered"):
            operator.call(m.StatusAsk(), timeout_s=0.2)
    finally:
        operator.close()


def test_an_operator_passes_over_answers_to_other_calls() -> None:
    with ends() as (central, _):
        operator = OperatorEndpoint("127.0.0.1", central.ports.coordinate)
        try:
            with pytest.raises(WireError):
                operator.call(m.StatusAsk(), timeout_s=0.05)
            (late,) = arrives(central)
            central.answer(late, m.Answer(number=late.message.number, body=m.Done()))
            with pytest.raises(WireError):
                operator.call(m.StopAsk(), timeout_s=0.3)
        finally:
            operator.close()


def test_waking_ends_a_wait_and_closing_twice_is_harmless() -> None:
    with ends("muster-1") as (central, (one,)):
        for end in (central, one):
            end.wake()
            began = time.monotonic()
            assert list(end.receive(30.0)) == []
            assert time.monotonic() - began < 10
    central.close()


def test_a_shepherd_may_open_as_many_files_as_the_machine_allows() -> None:
    with ends():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == resource.RLIM_INFINITY or soft >= min(65536, hard if hard >= 0 else 65536)


def test_a_setting_beyond_64_bits_is_refused_before_it_is_sent() -> None:
    with shepherd() as (running, _), pytest.raises(ValueError, match="int"):
        running.decide("muster-1", (Setting("node-0", "dvfs", 2**70),))
