"""Which machines make the load, and which servers it goes to: an inventory's, or this machine alone."""

from pathlib import Path

import msgspec

from mustherd.load.address import Address

LAYOUT = "load.json"
"""In an experiment's folder: the layout of a load that comes from outside its nodes."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that makes load. `address` is how servers and leader reach it, the rest how to log in."""

    address: str
    host: str = ""
    """Empty: this machine."""
    user: str = ""
    port: int = 22
    key: str = ""
    """A private key's file; empty: those of the account and its agent."""
    options: tuple[str, ...] = ()
    """More words for ssh, as `-o ProxyJump=bastion`."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A load from outside the nodes."""

    leader: Place = Place(address="127.0.0.1")
    agents: tuple[Place, ...] = ()
    start_agents: bool = False
    """Agents are started here, and not by their machines as units."""
    servers: dict[str, tuple[Address, ...]] = {}
    """Of each muster's node; a node that isn't named here says where its server is."""


def write(layout: Layout, folder: Path) -> None:
    """Put a layout into an experiment's folder."""
    (folder / LAYOUT).write_bytes(msgspec.json.format(msgspec.json.encode(layout), indent=2))


def read(folder: Path) -> Layout | None:
    """The layout in an experiment's folder, if any. ValueError when it can't be read."""
    try:
        return msgspec.json.decode((folder / LAYOUT).read_bytes(), type=Layout)
    except FileNotFoundError:
        return None
