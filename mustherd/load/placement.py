"""Which machines make the load, and which servers it goes to: an inventory's, or this machine alone."""

from pathlib import Path

import msgspec

from mustherd import files
from mustherd.load.address import Address

LAYOUT = "load.json"
"""In an experiment's folder: the layout of a load that comes from outside its nodes."""
MOST_BYTES = 1 << 20


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
    group: str = ""
    """Of an agent: it loads the musters of this group alone."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A load from outside the nodes."""

    leader: Place = Place(address="127.0.0.1")
    agents: tuple[Place, ...] = ()
    start_agents: bool = False
    """Agents are started here, and not by their machines as units."""
    servers: dict[str, tuple[Address, ...]] = {}
    """Of each muster's node; a node that isn't named here says where its server is."""
    groups: dict[str, str] = {}
    """Of each muster that has one: the group of agents that load it."""

    def group_of(self, muster: str) -> str:
        """The group of agents that load a muster; "" for those that are in none."""
        return self.groups.get(muster, "")


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that make one load at a time, beside other teams: a leader of its own on the leader's machine, and its
    own agents."""

    group: str = ""
    agents: tuple[Place, ...] = ()


def teams(layout: Layout, musters: int) -> tuple[Team, ...]:
    """The loads that can be made at the same time for so many musters, all of a group of equal strength. Pure.

    The agents of a group are shared out among its musters, the same number to each, so that what is measured on one can
    be compared with what is measured on another; agents that are left over make no load. A group with fewer agents than
    musters has a team for each agent, and its musters take turns.
    """
    found: list[Team] = []
    named = [layout.group_of(name) for name in layout.servers] or [""] * musters
    for group in dict.fromkeys(named):
        asking = min(named.count(group), musters)
        agents = [place for place in layout.agents if place.group == group]
        count = max(1, min(asking, len(agents)) if agents else asking)
        share = len(agents) // count
        found += [Team(group=group, agents=tuple(agents[k * share : (k + 1) * share])) for k in range(count)]
    return tuple(found)


def write(layout: Layout, folder: Path) -> None:
    """Put a layout into an experiment's folder."""
    (folder / LAYOUT).write_bytes(msgspec.json.format(msgspec.json.encode(layout), indent=2))


def read(folder: Path) -> Layout | None:
    """The layout in an experiment's folder, if any. ValueError when it can't be read."""
    try:
        return msgspec.json.decode(files.content(folder / LAYOUT, MOST_BYTES), type=Layout)
    except FileNotFoundError:
        return None
