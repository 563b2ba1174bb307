"""Where a server listens."""

import ipaddress
import re

import msgspec

FORM = "HOST:PORT, as in 127.0.0.1:11211 or [::1]:11211"

_BRACKETED = re.compile(r"\[([^\[\]]+)\]:([0-9]{1,5})")


class Address(msgspec.Struct, frozen=True):
    """Where a server listens. An IPv6 host is held without brackets and written with them."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if self.host.startswith("[") and self.host.endswith("]"):
            msgspec.structs.force_setattr(self, "host", self.host[1:-1])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """The server that `text` names: HOST:PORT or [HOST]:PORT. ValueError says what is allowed.

    What has several colons and no brackets is an IPv6 host up to the last one.
    """
    bracketed = _BRACKETED.fullmatch(text)
    host, port = bracketed.groups() if bracketed else text.rpartition(":")[::2]
    # A number of more digits than a port has is not even looked at: int() may refuse it by its length.
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536 or not _is_host(host):
        raise ValueError(f"{text!r} is no server: write {FORM}")
    return Address(host, int(port))


def _is_host(text: str) -> bool:
    """Whether a text with colons or brackets is an IPv6 address; any other is left to who looks names up."""
    if not set(text) & set(":[]"):
        return True
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
