import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.generator.requests import HEADER, Requests, preload
from mustherd.reasons import Reason
from tests.load.stand import plan


def made(**changes: Any) -> Requests:
    return Requests(plan(**{"records": 20, "value_size": "7", **changes}), np.random.default_rng(1))


def test_ascii_requests() -> None:
    found = made(protocol="ascii", key_size="5")
    assert found.bytes[3] == b"get 00003\r\n"
    assert found.bytes[23] == found.updates[3] == b"set 00003 0 0 7\r\nThe her\r\n"


def test_binary_requests() -> None:
    found = made(key_size="5")
    assert HEADER.unpack_from(found.bytes[3]) == (0x80, 0, 5, 0, 0, 0, 5, 0, 0)
    assert found.bytes[3][24:] == b"00003"
    assert HEADER.unpack_from(found.updates[3]) == (0x80, 1, 5, 8, 0, 0, 20, 0, 0)
    assert found.updates[3][24:] == bytes(8) + b"00003" + b"The her"


def test_all_workers_have_the_same_keys() -> None:
    one = Requests(plan(key_size="fb_key"), np.random.default_rng(1)).bytes[:1000]
    other = Requests(plan(key_size="fb_key", seed=9, worker=3), np.random.default_rng(2)).bytes[:1000]
    assert one == other
    assert len(set(one)) == 1000


@pytest.fixture
def server() -> Iterator[Callable[..., Address]]:
    """Answers to each `recv` with the next of some answers, then hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(*answers: bytes) -> Address:
        def serve() -> None:
            link, _ = listener.accept()
            with link:
                for answer in answers:
                    link.recv(65536)
                    link.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return Address("127.0.0.1", listener.getsockname()[1])

    yield start
    listener.close()


STORED = HEADER.pack(0x81, 1, 0, 0, 0, 0, 0, 0, 0)
REFUSED = HEADER.pack(0x81, 1, 0, 0, 0, 3, 9, 0, 0) + b"Too large"


@pytest.mark.parametrize(("protocol", "answer"), [("binary", STORED), ("ascii", b"STORED\r\n")])
def test_every_record_is_stored(server: Callable[..., Address], protocol: str, answer: bytes) -> None:
    preload(server(answer * 20), made(protocol=protocol).updates, protocol)


@pytest.mark.parametrize(
    ("protocol", "answer", "reason"),
    [
        ("binary", STORED * 3 + REFUSED, Reason.SERVER_FAILED),
        ("ascii", b"STORED\r\nSERVER_ERROR object too large for cache\r\n", Reason.SERVER_FAILED),
        ("binary", STORED * 3, Reason.SERVER_UNREACHABLE),
        ("ascii", b"STORED\r\nSTO", Reason.SERVER_UNREACHABLE),
    ],
)
def test_a_record_that_is_not_stored(
    server: Callable[..., Address], protocol: str, answer: bytes, reason: Reason
) -> None:
    with pytest.raises(LoadError) as caught:
        preload(server(answer), made(protocol=protocol).updates, protocol)
    assert caught.value.reason == reason
