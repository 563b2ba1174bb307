"""What the shepherd keeps about one muster, and the promises that it made to others about it."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mustherd.herd.flow import Receiver
from mustherd.herd.link import Link
from mustherd.herd.membership import Presence
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError
from mustherd.terms import Facts, Reading
from mustherd.wire import messages as m

WINDOWS_BYTES = 256 * 1024 * 1024
"""Log rows of all musters together that are taken and not yet durable: bounds this process's memory."""

WINDOW_LEAST_BYTES = 2 * 1024 * 1024
WINDOW_MOST_BYTES = 64 * 1024 * 1024
"""What one muster's share is bounded by: with less its blocks come one by one, with more nothing gets faster."""


MAX_KNOB_VALUES = 8192
"""Knob values that a muster may list one by one: bounds what is kept of it, and the size of a status."""


@dataclass
class MusterSession:
    """One life of a muster."""

    hello: m.Hello
    link: Link[m.Order, msgspec.Raw] = field(default_factory=Link)
    flow: Receiver = field(default_factory=Receiver)
    spool: int = 0
    """Whose blocks `flow` counts; 0 before the muster has offered any."""
    in_force: int = 0
    times_late: int = 0
    unrestored: int = 0
    answer_ms: float | None = None
    readings: tuple[Reading, ...] = ()
    next_beat: float = -float("inf")
    deciding: dict[int, tuple[Future[m.Applied], float]] = field(default_factory=dict)
    """Decision to who waits for its answer, and since when."""
    measuring: dict[int, Future[m.Measured]] = field(default_factory=dict)
    opening: dict[int, Future[m.Opened]] = field(default_factory=dict)
    logging: dict[int, Future[m.Logged]] = field(default_factory=dict)

    def fail(self, reason: Reason, text: str) -> None:
        """Fail everything that is still asked of this muster."""
        waiting: list[Future[Any]] = [future for future, _ in self.deciding.values()]
        waiting.extend(self.measuring.values())
        waiting.extend(self.opening.values())
        waiting.extend(self.logging.values())
        self.deciding.clear()
        self.measuring.clear()
        self.opening.clear()
        self.logging.clear()
        for future in waiting:
            reject(future, HerdError(reason, text))

    def view(self, presence: Presence | None, silent_s: float) -> m.MusterView:
        """The muster as operators and the trial loop see it."""
        hello = self.hello
        return m.MusterView(
            name=hello.muster,
            presence=str(presence),
            muster_epoch=hello.muster_epoch,
            knobs=hello.knobs,
            zones=hello.zones,
            streams=hello.streams,
            facts=hello.facts,
            in_force=self.in_force,
            times_late=self.times_late,
            unrestored=self.unrestored,
            answer_ms=self.answer_ms,
            readings=self.readings,
            silent_s=silent_s,
        )


def objection(hello: m.Hello) -> str:
    """What is wrong with a hello that decodes; empty when nothing is."""
    if len({(k.sheep, k.name) for k in hello.knobs}) != len(hello.knobs):
        return "it offers a knob twice"
    if any(k.step < 1 for k in hello.knobs):
        return "it offers a knob with a step below 1"
    told = sum(len(k.values) + len(k.names) + len(k.modes) for k in hello.knobs)
    if told > MAX_KNOB_VALUES:
        return f"it offers {told} single values of knobs, more than {MAX_KNOB_VALUES}; give ranges"
    return ""


def without(view: m.MusterView, what: str) -> m.MusterView:
    """A view that says nothing of one of its fields, to be smaller."""
    if what == "facts":
        return msgspec.structs.replace(view, facts=Facts(kind=view.facts.kind))
    return msgspec.structs.replace(view, **{what: ()})


def reject(future: Future[Any], error: HerdError) -> None:
    """Fail a future; one that has ended already stays as it is."""
    if not future.done():
        future.set_exception(error)


def answer_of(done: Future[m.Applied]) -> m.Done | m.Refused:
    """What became of a decision as an operator gets it."""
    error = done.exception()
    if error is not None:
        return m.Refused(reason=str(error)[:2000])
    applied = done.result()
    if applied.outcome in ("applied", "restored"):
        return m.Done(readings=applied.readings)
    return m.Refused(reason=f"{applied.outcome}: {applied.detail}"[:2000])


def logged_of(done: Future[m.Logged]) -> m.Done | m.Refused:
    """What became of a log order as an operator gets it."""
    error = done.exception()
    if error is not None:
        return m.Refused(reason=str(error)[:2000])
    logged = done.result()
    if logged.error:
        return m.Refused(reason=logged.error)
    return m.Done(rows=logged.rows, rows_lost=logged.rows_lost)


def credit_of(muster: MusterSession, shepherd_epoch: int, offering: int) -> m.Credit:
    """How far a muster's blocks have come, and its share of what may be on the way to disk from `offering` musters."""
    window = min(max(WINDOWS_BYTES // max(1, offering), WINDOW_LEAST_BYTES), WINDOW_MOST_BYTES)
    return m.Credit(
        muster_epoch=muster.hello.muster_epoch,
        shepherd_epoch=shepherd_epoch,
        spool=muster.spool,
        ack=muster.flow.durable,
        got=muster.flow.got,
        window=window,
    )
