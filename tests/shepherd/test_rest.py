"""A large herd that nobody waits for is heard in batches; whoever waits for something is served at once."""

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import msgspec
import pytest

from mustherd.shepherd.server import ShepherdServer
from mustherd.terms import NODE, Setting
from mustherd.wire import messages as m
from mustherd.wire.endpoints import OperatorEndpoint
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint
from tests.wire.test_codec import HELLO

pytestmark = pytest.mark.herd

LARGE = 500


@pytest.fixture
def end() -> Iterator[ShepherdEndpoint]:
    end = ShepherdEndpoint(ports=Ports(0, 0, 0, 0))
    yield end
    end.close()


def herd(end: ShepherdEndpoint, musters: int) -> ShepherdServer:
    """A shepherd that so many musters have said hello to."""
    server = ShepherdServer(end, experiment="", folder="", sink=None, tell=lambda _: None, now=time.monotonic)
    for k in range(musters):
        hello = msgspec.structs.replace(HELLO, muster=f"m{k}", muster_epoch=k + 1)
        server.handle(Received(hello.muster, None, hello, route=b"gone"))
    return server


def test_messages_of_a_large_herd_are_left_to_gather_and_of_a_small_one_are_not(end: ShepherdEndpoint) -> None:
    assert herd(end, 3).rest_s() == 0
    assert 0 < herd(end, LARGE).rest_s() <= 0.02


def test_nobody_who_waits_for_a_decision_is_made_to_wait(end: ShepherdEndpoint) -> None:
    server = herd(end, LARGE)
    answer: Future[m.Applied] = Future()
    server.orders.decide("m7", (Setting(NODE, "itr-delay", 100),), answer)
    assert server.rest_s() == 0
    server._decisions.answered("m7", 1, holds=True)
    assert server.rest_s() > 0


def test_whoever_asks_ends_the_rest(end: ShepherdEndpoint) -> None:
    asked = threading.Timer(0.2, end.wake)
    asked.start()
    # Far beyond the test's own time.
    assert list(end.receive(0, rest_s=3600)) == []
    asked.join()


def test_an_operator_who_calls_ends_the_rest(end: ShepherdEndpoint) -> None:
    with concurrent.futures.ThreadPoolExecutor() as others:
        operator = OperatorEndpoint("127.0.0.1", end.ports.coordinate)
        answered = others.submit(operator.call, m.StatusAsk(), 60.0)
        # Far beyond the test's own time.
        received = list(end.receive(3600, rest_s=3600)) or list(end.receive(60))
        assert [type(one.message) for one in received] == [m.Call]
        assert isinstance(received[0].message, m.Call)
        end.answer(received[0], m.Answer(number=received[0].message.number, body=m.Done()))
        assert answered.result() == m.Done()
        operator.close()
