"""Where readings come from: the interface of a source of signals."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from mustherd.errors import UserError
from mustherd.keep.events import Signal


class SourceError(UserError):
    """A source could not be read this time; the message is a sentence. It is asked again at the next frame."""

    exit_code = 3


class Sample(NamedTuple):
    """A number that a source told of a node, in the signal's unit (mustherd.keep.events.Reading)."""

    node: str
    signal: Signal
    value: float
    age_s: float = 0.0
    """How old it was when it was read, where the source says so."""


@runtime_checkable
class Source(Protocol):
    """One place that is asked each frame, from a thread of its own, so that it may take its time.

    What it says nothing of, or can't be read for longer than `age_s`, is a signal that is lost.
    """

    def read(self) -> Sequence[Sample]:
        """What there is now. Raises SourceError."""
        ...

    def close(self) -> None:
        """Let go of what it holds; from another thread, to end a `read` that hangs."""
        ...
