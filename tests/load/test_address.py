"""Where servers listen: as people write it, and in every family of addresses."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.address import Address, parse
from mustherd.load.error import LoadError
from mustherd.load.server import ServerProcess, free_port
from mustherd.terms import Facts


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:11211", "127.0.0.1", 11211),
        ("node-1.lan:1", "node-1.lan", 1),
        ("[::1]:11211", "::1", 11211),
        ("::1:11211", "::1", 11211),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("[2001:db8::10.0.0.1]:80", "2001:db8::10.0.0.1", 80),
    ],
)
def test_a_server_is_named_by_host_and_port(text: str, host: str, port: int) -> None:
    found = parse(text)
    assert (found.host, found.port) == (host, port)
    assert parse(str(found)) == found, "it is written so that it is read again"


@pytest.mark.parametrize(
    "text",
    ["", ":11211", "host", "host:", "host:0", "host:65536", "host:http", "::1", "[::1]", "[::1]11211", "[]:1",
     "[a]:1:2", "a:b:1", "[[::1]]:1", "host:" + "1" * 5000, "host:\u0661"],
)  # fmt: skip
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_server_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert parse(str(found)) == found


def test_brackets_belong_to_the_writing_and_not_to_the_host() -> None:
    assert Address("[::1]", 80) == Address("::1", 80)
    assert str(Address("::1", 80)) == "[::1]:80"
    assert Facts(kind="process", address=("::1", 80)).rows()["address"] == "[::1]:80"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_free_port_is_free_in_the_address_s_own_family(host: str) -> None:
    port = free_port(host)
    family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as listening:
        listening.bind(where)


class Nowhere(ServerProcess):
    def argv(self) -> list[str]:
        return ["true"]


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])
def test_a_server_that_can_not_listen_there_says_so(host: str) -> None:
    server = Nowhere("a server", host)
    with pytest.raises(LoadError, match=f"a server can't listen on {host}: "):
        server.start()
    server.close()
