"""Where readings come from: the interface of a source of signals."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

from mustherd.errors import UserError
from mustherd.keep.events import Signal
from mustherd.metrics import RX_BYTES_PER_ROW
from mustherd.node.kinds import ITR_DELAY
from mustherd.shepherd.sink import LogSink
from mustherd.wire.messages import Measured, MusterView

Musters: TypeAlias = Callable[[], Mapping[str, MusterView]]
"""Who is in the herd now, by name."""


class SourceError(UserError):
    """A source could not be read this time; the message is a sentence. It is asked again at the next frame."""

    exit_code = 3


class Sample(NamedTuple):
    """A number that a source told of a node, in the signal's unit (mustherd.keep.events.Reading)."""

    node: str
    """Its muster's name."""
    signal: Signal
    value: float
    age_s: float = 0.0
    """How old it was when it was read, where the source says so."""


class Source(Protocol):
    """One place that is asked each frame, from a thread of its own, so that it may take its time.

    What it says nothing of, or can't be read for longer than `age_s`, is a signal that is lost.
    """

    Options: ClassVar[type]
    """Its keys in a keeper's file: a dataclass or msgspec struct; mustherd.plugins.NoOptions where it takes none."""

    def __init__(self, options: Any, musters: Musters) -> None:
        """Ask nothing yet. Raises ValueError for options that can't be."""
        ...

    def read(self) -> Sequence[Sample]:
        """What there is now of the nodes that can be read. Raises SourceError where there are some and none can."""
        ...

    def close(self) -> None:
        """Let go of what it holds; from another thread, to end a `read` that hangs. Harmless when it is repeated."""
        ...


Counted: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]
"""Pairs of a load and what was counted there a second, by metric; PER_DELAY and an interrupt delay: medians of received
bytes per row of intlog there."""
PER_DELAY = f"{RX_BYTES_PER_ROW}@{ITR_DELAY.name}="


@runtime_checkable
class WindowSource(Protocol):
    """What a source may have beside the rest: it is told the keeper's own windows, and says at `read` what of them."""

    def learn(self, counted: Counted) -> None:
        """What the experiment's trials, or a table's rows, counted at each load. Raises ValueError where it needs some,
        and there are none; told once, before anything is seen."""
        ...

    def seen(self, node: str, measured: Measured) -> None:
        """A window of a node has ended. Called from another thread than `read`; must not wait."""
        ...


@runtime_checkable
class RowSource(Protocol):
    """What a source may have beside the rest: it takes the rows that musters log."""

    sink: LogSink


def gathered(asked: Iterable[Callable[[], Sample | None]]) -> list[Sample]:
    """What each node tells, None being nothing yet: one that can't be read keeps no other from being heard.

    SourceError where all that could be heard is that.
    """
    found: list[Sample] = []
    errors: list[SourceError] = []
    for ask in asked:
        try:
            sample = ask()
        except SourceError as error:
            errors.append(error)
        else:
            found += [sample] if sample is not None else []
    if errors and not found:
        raise errors[0]
    return found
