"""The interface behind which every load looks alike: the twin's, mutilate's, the built-in generator's, a package's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from mustherd.load.address import Address
from mustherd.load.host import Host
from mustherd.node.node import RunningLoad
from mustherd.terms import Load


class LoadSource(Protocol):
    """Offers loads to a server, one at a time.

    A trial goes: `start`, `open_window`, wait for the window, `close_window`; what lies between the two is what the
    report is about, on CLOCK_MONOTONIC of this machine or, for a twin, on the twin's clock. Either may wait:
    `open_window` until the ramp is over and the load is under way, `close_window` until it has been counted up. `stop`
    at any time.
    """

    def prepare(self) -> None:
        """Once, before the first load: agents up, records stored. LoadError."""
        ...

    def start(self, load: Load, seed: int) -> RunningLoad:
        """Offer `load`; another one that runs is ended first. LoadError."""
        ...

    def stop(self) -> None:
        """End the load and all that `prepare` started; harmless when nothing runs."""
        ...

    def check(self) -> Sequence[str]:
        """What keeps loads from being offered or measured, each in a sentence; empty when all is well."""
        ...


ANY = "*"


class LoadTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same of all loads of a kind."""

    servers: tuple[str, ...]
    """The servers that it can load, by their names (`mustherd.servers`); ANY among them: whichever there is."""
    open_loop: bool
    """Requests fall due at their times, whether or not earlier ones were answered. A closed loop waits for answers: it
    offers what is answered, and a guard on the answered share says nothing."""
    follows_curves: bool = False
    """It can change within a window (`Load.curve`)."""
    whole_seconds: bool = False
    """Its windows last whole seconds."""
    overhead_s: float = 0.0
    """What a window takes beside its ramp and its length, about, with agents: for records to be stored, programs to be
    started, connections to be opened and closed. A plan reckons with it."""
    on_node: bool = False
    """It is a part of its node, which starts it by itself; nobody makes a source of it for a site."""

    def can_load(self, server: str) -> bool:
        """Whether it can load servers of that name."""
        return server in self.servers or ANY in self.servers


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a load goes, which machines make it, and how long it lasts."""

    servers: tuple[Address, ...]
    leader: Host
    """The machine that leads the load and measures."""
    agents: tuple[Host, ...] = ()
    """Machines that load under its lead."""
    start_agents: bool = True
    """Agents are started by the source; else they run by themselves, as units of their machines."""
    qps: float = 0.0
    """About how many requests a second will be offered."""
    ramp_s: float = 0.0
    """Load before each window, not counted."""
    window_s: float
    spoilt: bool = False
    """The window before ended badly: agents may still wait for their leader."""
    logs: str = ""
    """Folder in which programs' outputs are kept; empty: nobody keeps them."""


@runtime_checkable
class WatchedLoad(Protocol):
    """A load under way that can go wrong in a way that must not wait for its window's end."""

    def look(self) -> None:
        """Called about once a second while its window lasts. LoadError ends it."""
        ...


@runtime_checkable
class BuildsTold(Protocol):
    """A source that says which builds measure and are measured."""

    def builds(self) -> Mapping[str, str]:
        """The program or server, and its version or a digest of it: equal for equal builds. LoadError."""
        ...


class LoadKind(Protocol):
    """Makes sources of a kind of load: what an entry point of `mustherd.loads` names, a class or a function.

    It may have more: `Options`, a dataclass or msgspec struct with the options that a definition may give it, of which
    `options` is one; without it there are none, and `options` is None. `check_options(options)`, static: raises
    ValueError for what the types of Options don't say, or mustherd.plugins.OptionError with the place of an option.
    `traits_of(options)`, static: the traits of a load with these options, where they decide about them.
    `declares(options)`, static: the metrics of its own that its reports hold (`LoadReport.metrics`), each with which is
    better, `less` or `more`; `options` are as a definition writes them, and may be wrong. `latencies(options)`, static:
    the latencies that its reports hold, as metrics (`read_p99_us`), where that is known: a goal that needs another is
    refused.
    """

    @property
    def traits(self) -> LoadTraits:
        """What is the same of all its loads. An attribute of the class or function."""
        ...

    def __call__(self, site: Site, options: Any) -> LoadSource: ...
