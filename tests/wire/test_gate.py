"""A key may do what its role says, under its own name, for as long as it is accepted."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import NODE, Setting
from mustherd.wire import codec, keys
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, OperatorEndpoint, WireError
from mustherd.wire.gate import Gate
from mustherd.wire.keys import KeysError
from mustherd.wire.members import Member, Role
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from mustherd.wire.sockets import ROUTE_MARK
from tests.herding import muster, shepherd
from tests.typed import a
from tests.waiting import PATIENCE_S, until
from tests.wire.test_codec import BEAT, HELLO

pytestmark = pytest.mark.herd

SLOW = (Setting(NODE, "dvfs", 1300),)
QUIET_S = 0.6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys", ["shepherd", "muster-1", "muster-2", "operator", "observer"])
    keys.create(tmp_path / "keys", ["stranger"], accept=False)
    return tmp_path / "keys"


@pytest.fixture
def herd(folder: Path) -> Iterator[tuple[Shepherd, Ports]]:
    with shepherd(keys=keys.for_shepherd(folder)) as found:
        yield found


def call(folder: Path, ports: Ports, name: str, body: m.StatusAsk | m.StopAsk | m.KnobsAsk) -> object:
    end = OperatorEndpoint("127.0.0.1", ports.coordinate, keys.for_member(folder, name))
    try:
        return end.call(body, 2.0)
    finally:
        end.close()


@contextmanager
def socket(folder: Path, port: int, name: str, kind: int, route: bytes = b"") -> "Iterator[zmq.Socket[bytes]]":
    """A ZeroMQ socket with a member's key that says what it likes."""
    own = keys.for_member(folder, name)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        made = context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        if route:
            made.setsockopt(zmq.ROUTING_ID, route)
        made.curve_secretkey, made.curve_publickey, made.curve_serverkey = own.secret, own.public, own.shepherd
        made.connect(f"tcp://127.0.0.1:{port}")
        yield made
    finally:
        context.destroy(linger=0)


def handshake(folder: Path, port: int, name: str) -> int:
    """How a handshake with a member's key ends."""
    own = keys.for_member(folder, name)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.DEALER)
    monitor = made.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    try:
        made.curve_secretkey, made.curve_publickey, made.curve_serverkey = own.secret, own.public, own.shepherd
        made.connect(f"tcp://127.0.0.1:{port}")
        assert monitor.poll(int(PATIENCE_S * 1000))
        return int.from_bytes(monitor.recv_multipart()[0][:2], "little")
    finally:
        monitor.close(linger=0)
        context.destroy(linger=0)


def test_roles_go_by_names_unless_they_are_given(tmp_path: Path) -> None:
    keys.create(tmp_path, ["shepherd", "muster-1", "operator", "observer"])
    keys.create(tmp_path, ["alice"], role=Role.OPERATOR)
    assert set((keys.for_shepherd(tmp_path).accepted or {}).values()) == {
        Member("muster-1", Role.MUSTER),
        Member("operator", Role.OPERATOR),
        Member("observer", Role.OBSERVER),
        Member("alice", Role.OPERATOR),
    }
    # A key's role is changed by accepting it anew.
    keys.create(tmp_path, ["alice"], role=Role.OBSERVER)
    assert Member("alice", Role.OBSERVER) in (keys.for_shepherd(tmp_path).accepted or {}).values()


def test_a_key_that_says_nothing_of_its_role_is_a_muster_s(folder: Path) -> None:
    file = folder / "accepted" / "operator.key"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "role" not in line))
    assert Member("operator", Role.MUSTER) in (keys.for_shepherd(folder).accepted or {}).values()


def test_a_role_that_there_is_not_is_refused(folder: Path) -> None:
    file = folder / "accepted" / "operator.key"
    file.write_text(file.read_text().replace('"operator"', '"root"'))
    with pytest.raises(KeysError, match=r"operator.key: role 'root': a key is for muster, operator, observer"):
        keys.for_shepherd(folder)


def test_an_operator_may_ask_for_anything(folder: Path, herd: tuple[Shepherd, Ports], tmp_path: Path) -> None:
    _, ports = herd
    with muster(ports, tmp_path / "state", keys=keys.for_member(folder, "muster-1")):
        until(lambda: a(m.Status, call(folder, ports, "operator", m.StatusAsk())).musters)
        done = call(folder, ports, "operator", m.KnobsAsk(muster="muster-1", settings=SLOW))
        assert [r.applied for r in a(m.Done, done).readings if r.knob == "dvfs"] == [1300]
        assert isinstance(call(folder, ports, "operator", m.StopAsk()), m.Done)


def test_an_observer_may_ask_for_the_status_alone(folder: Path, herd: tuple[Shepherd, Ports]) -> None:
    _, ports = herd
    assert isinstance(call(folder, ports, "observer", m.StatusAsk()), m.Status)
    for body in (m.StopAsk(), m.KnobsAsk(muster="muster-1", settings=SLOW)):
        assert "an observer's" in a(m.Refused, call(folder, ports, "observer", body)).reason


def test_nobody_else_may_ask_for_anything(folder: Path, herd: tuple[Shepherd, Ports]) -> None:
    """A muster's key isn't an operator's, whether its muster has joined or not; the shepherd's own opens nothing."""
    _, ports = herd
    for name in ("muster-1", "muster-2", "shepherd", "stranger"):
        with pytest.raises(WireError, match=r"doesn't accept this key at .*: it is not an operator's"):
            call(folder, ports, name, m.StatusAsk())


@pytest.mark.parametrize("channel", ["pulse", "log", "control"])
def test_who_is_no_muster_has_no_business_on_a_muster_s_channel(
    folder: Path, herd: tuple[Shepherd, Ports], channel: str
) -> None:
    running, ports = herd
    for name in ("operator", "observer", "shepherd", "stranger"):
        assert handshake(folder, getattr(ports, channel), name) == zmq.EVENT_HANDSHAKE_FAILED_AUTH, name
    assert handshake(folder, getattr(ports, channel), "muster-1") == zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert running.musters() == {}


def test_nobody_is_heard_without_a_key_or_by_another_mechanism(folder: Path, herd: tuple[Shepherd, Ports]) -> None:
    _, ports = herd
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        for plain in (False, True):
            odd = context.socket(zmq.DEALER)
            odd.setsockopt(zmq.LINGER, 0)
            if plain:
                odd.plain_username, odd.plain_password = b"operator", b"x"
            odd.connect(f"tcp://127.0.0.1:{ports.coordinate}")
            odd.send(codec.encode(m.Call(number=1, body=m.StatusAsk())))
            assert not odd.poll(int(QUIET_S * 1000))
            odd.close()
    finally:
        context.destroy(linger=0)


def test_whoever_takes_another_s_name_gets_nothing_of_its(
    folder: Path, herd: tuple[Shepherd, Ports], tmp_path: Path
) -> None:
    """With an accepted key of its own, on each channel, by the name alone and by a guess of the whole route."""
    running, ports = herd
    with muster(ports, tmp_path / "state", keys=keys.for_member(folder, "muster-1")), ExitStack() as stack:
        until(lambda: "muster-1" in running.musters())
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
        thieves = [
            stack.enter_context(socket(folder, port, "muster-2", zmq.DEALER, route))
            for port in (ports.pulse, ports.log, ports.control)
            for route in (b"muster-1", b"muster-1" + ROUTE_MARK + b"0" * 16)
        ]
        for thief in thieves[:2]:
            thief.send(codec.encode(HELLO))
            thief.send(codec.encode(BEAT))
        # It is told that the name isn't its own, and that is all that it hears.
        until(lambda: all(thief.poll(0) for thief in thieves[:2]))
        for thief in thieves[:2]:
            refusal = codec.down(thief.recv())
            assert "its key was accepted for 'muster-2', not for muster-1" in a(m.Refusal, refusal).reason
        before = running.musters()["muster-1"]
        assert running.decide("muster-1", (Setting(NODE, "dvfs", 1400),)).result(PATIENCE_S).outcome == "applied"
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            assert not any(thief.poll(10) for thief in thieves)
        view = running.musters()["muster-1"]
        assert (view.muster_epoch, view.times_late) == (before.muster_epoch, before.times_late)
        assert view.in_force


def test_a_key_hears_its_own_decisions_and_no_subscription_helps(
    folder: Path, herd: tuple[Shepherd, Ports], tmp_path: Path
) -> None:
    running, ports = herd
    with (
        muster(ports, tmp_path / "state", keys=keys.for_member(folder, "muster-1")),
        socket(folder, ports.control, "muster-2", zmq.SUB) as listener,
        socket(folder, ports.control, "muster-2", zmq.XSUB) as other,
    ):
        listener.subscribe(b"")
        other.send(b"\x01")
        until(lambda: "muster-1" in running.musters())
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
        assert not listener.poll(int(QUIET_S * 1000))
        assert not other.poll(0)


def revoke(folder: Path, name: str) -> None:
    (folder / "accepted" / f"{name}.key").unlink()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_that_is_taken_out_is_nobody_s_from_then_on(
    folder: Path, herd: tuple[Shepherd, Ports], tmp_path: Path, at_once: bool
) -> None:
    """Connected or not, with no restart; `at_once` is what SIGHUP does."""
    running, ports = herd
    end = OperatorEndpoint("127.0.0.1", ports.coordinate, keys.for_member(folder, "operator"))
    with muster(ports, tmp_path / "state", keys=keys.for_member(folder, "muster-1")) as one:
        try:
            until(lambda: "muster-1" in running.musters())
            assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            assert isinstance(end.call(m.StatusAsk()), m.Status)
            for name in ("operator", "muster-1"):
                revoke(folder, name)
            if at_once:
                running.reread_keys()
            until(lambda: running.musters()["muster-1"].presence == "missing")
            with pytest.raises(WireError):
                end.call(m.StatusAsk(), 0.5)
            with pytest.raises(WireError, match="doesn't accept this key"):
                call(folder, ports, "operator", m.StatusAsk())
            # Nobody renews what is in force on it.
            until(lambda: not one.unrestored)
        finally:
            end.close()
        keys.create(folder, ["operator", "muster-1"])
        until(lambda: running.musters()["muster-1"].presence == "alive")
        assert isinstance(call(folder, ports, "operator", m.StatusAsk()), m.Status)


def test_a_key_that_is_new_is_let_in_without_a_restart(folder: Path, herd: tuple[Shepherd, Ports]) -> None:
    _, ports = herd
    keys.create(folder, ["alice"], role=Role.OPERATOR)

    def answered() -> bool:
        try:
            return isinstance(call(folder, ports, "alice", m.StatusAsk()), m.Status)
        except WireError:
            return False

    until(answered)


def test_keys_that_can_not_be_read_again_leave_those_of_before(
    folder: Path, herd: tuple[Shepherd, Ports], caplog: pytest.LogCaptureFixture
) -> None:
    running, ports = herd
    (folder / "accepted" / "odd.key").write_text("nonsense")
    running.reread_keys()
    until(lambda: "the accepted keys can't be read again" in caplog.text)
    assert isinstance(call(folder, ports, "operator", m.StatusAsk()), m.Status)


def test_a_stranger_is_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    central = ShepherdEndpoint(ports=Ports(0, 0, 0, 0), keys=keys.for_shepherd(folder))
    stranger = MusterEndpoint("stranger", "127.0.0.1", central.ports, keys.for_member(folder, "stranger"))
    try:
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            assert list(central.receive(0.05)) == []
        assert caplog.text.count("a key that isn't accepted was turned away from pulse") == 1
    finally:
        stranger.close()
        central.close()


def test_a_group_that_is_called_like_a_muster_takes_nothing_from_it(
    folder: Path, herd: tuple[Shepherd, Ports], tmp_path: Path
) -> None:
    running, ports = herd
    with muster(ports, tmp_path / "state", keys=keys.for_member(folder, "muster-1")):
        until(lambda: running.musters().get("muster-1"))
        other = MusterEndpoint("muster-2", "127.0.0.1", ports, keys.for_member(folder, "muster-2"))
        try:
            hello = msgspec.structs.replace(HELLO, muster="muster-2", groups=("muster-1",), sent_s=time.monotonic())
            until(lambda: other.send_pulse(hello))
            until(lambda: running.musters().get("muster-2"))
            assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            heard = [message for _ in range(5) for message in other.receive(0.1)]
            assert not any(isinstance(message, m.Decision) for message in heard)
        finally:
            other.close()
        # Nor when it has left the group again, or the herd.
        assert running.decide("muster-1", ()).result(PATIENCE_S).outcome == "restored"


def test_without_a_descriptor_left_those_who_were_accepted_stay(folder: Path) -> None:
    own = keys.for_shepherd(folder)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context, own)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            gone = gate.look(0.0, at_once=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert gone == set()
        assert gate._accepted == own.accepted
        (folder / keys.ACCEPTED / "muster-1.key").unlink()
        assert gate.look(100.0) == {"muster-1"}
    finally:
        gate.socket.close()
        context.term()


def test_what_was_in_the_way_is_looked_at_again_though_no_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context, keys.for_shepherd(folder))
    try:
        (folder / keys.ACCEPTED / "muster-1.key").unlink()
        with monkeypatch.context() as broken:
            broken.setattr("mustherd.wire.gate.accepted_in", refuse)
            assert gate.look(0.0) == set()
            assert gate.look(100.0) == set()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert gate.look(200.0) == {"muster-1"}
    finally:
        gate.socket.close()
        context.term()


def refuse(folder: Path) -> dict[bytes, Member]:
    raise KeysError(f"{folder} can't be read: Too many open files")
