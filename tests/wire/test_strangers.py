"""What others who listen where a shepherd should do to a muster's lines."""

import pytest
import zmq

from mustherd.wire.endpoints import MusterEndpoint, WireError
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests.waiting import until
from tests.wire.test_codec import HELLO

pytestmark = pytest.mark.herd


def test_a_stranger_that_listened_for_a_moment_mutes_no_muster(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ gives a connection up for good that met another protocol: a line without one is connected anew."""
    monkeypatch.setattr("mustherd.wire.endpoints.REDIAL_S", 0.2)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    met = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED
    strangers = [context.socket(zmq.PUB) for _ in range(4)]
    ports = Ports(*(one.bind_to_random_port("tcp://127.0.0.1") for one in strangers))
    monitors = [one.get_monitor_socket(met) for one in strangers[:3]]
    end = MusterEndpoint("m0", "127.0.0.1", ports)
    try:
        until(lambda: all(monitor.poll(50) for monitor in monitors))
        context.destroy(linger=0)
        central = until(lambda: bound(ports))
        try:

            def heard() -> bool:
                list(end.receive(0.02))
                end.send_pulse(HELLO)
                return bool(list(central.receive(0.02)))

            until(heard)
        finally:
            central.close()
    finally:
        end.close()


def bound(ports: Ports) -> ShepherdEndpoint | None:
    """The shepherd's end, once the kernel has given its ports back."""
    try:
        return ShepherdEndpoint(ports=ports)
    except WireError:
        return None
