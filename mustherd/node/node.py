"""A node as its muster sees it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from mustherd.node.clock import Clock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.terms import Facts, Load, LoadReport


class NodeError(Exception):
    """A node can't be had as it was asked for; the message says why, or what there is."""


class RunningLoad(Protocol):
    """A load that a node runs by itself (a twin does; a real server is loaded from elsewhere)."""

    def open_window(self) -> None:
        """The ramp is over: count from here."""
        ...

    def close_window(self) -> LoadReport:
        """Stop counting and report what happened since `open_window`; the load ends."""
        ...


class Node(Protocol):
    """Everything a muster may touch."""

    @property
    def facts(self) -> Facts:
        """What the machine is: stored with every experiment."""
        ...

    @property
    def clock(self) -> Clock: ...

    @property
    def knobs(self) -> Sequence[Knob]: ...

    @property
    def meter(self) -> EnergyMeter | None:
        """None where the machine has no energy counter; never a meter that reads 0."""
        ...

    @property
    def loggers(self) -> Sequence[NativeLogger]:
        """Streams of few rows."""
        ...

    @property
    def text_loggers(self) -> Sequence[TextLogger]:
        """Streams of many."""
        ...

    def start_load(self, load: Load, seed: int) -> RunningLoad | None:
        """Start offering `load`; None where the load comes from elsewhere. `seed` makes a twin's noise repeatable."""
        ...

    def stop_load(self) -> None:
        """End whatever `start_load` began; harmless when nothing runs."""
        ...

    def close(self) -> None:
        """Let go of what the node holds; knobs stay as they are. Called once, last."""
        ...


@runtime_checkable
class CountingNode(Protocol):
    """What a node may have beside the rest: running totals of its own, of which a window gets the differences."""

    def counts(self) -> Mapping[str, float]:
        """Totals by the name of the metric that they are over a window, such as `server_cpu_seconds`; what can't be
        counted now is not among them.
        """
        ...


@runtime_checkable
class EndingNode(Protocol):
    """What a node may have beside the rest: something that it is nothing without, and that can end by itself."""

    def ended(self) -> str:
        """What has ended and how, upon which its muster ends; '' as long as all is there."""
        ...


class NodeKind(Protocol):
    """A kind of node, called by a name of `mustherd.nodes`: a table of that name in a muster's configuration opens one.

    The class of the node itself may be it.
    """

    Options: ClassVar[type | None]
    """The table's keys, as a dataclass or a msgspec struct that refuses wrong values by ValueError. None: `open` gets
    the table itself and looks after that."""

    @classmethod
    def open(cls, options: Any, home: Path) -> Node:
        """The node. `home` is a folder of the muster's own, which may have to be made. Raises NodeError."""
        ...
