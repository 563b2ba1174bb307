"""The knob: a setting of a sheep that can be read, written and checked."""

from typing import Protocol

from mustherd.terms import KnobInfo, Reading


class KnobError(Exception):
    """A knob could not be read or written; the message names the knob, the place and the cause."""


class Knob(Protocol):
    """One setting of one sheep. Reading never changes the node; writing happens in `write` alone.

    A knob keeps no state of its own between calls: what it reports is what the node said when it was asked.
    """

    @property
    def info(self) -> KnobInfo:
        """Name, sheep, unit and the values that this machine allows."""
        ...

    def read(self) -> int:
        """What the register or driver holds now, in the canonical unit. Raises KnobError."""
        ...

    def running(self) -> int | None:
        """What the hardware does now; None where the machine cannot tell. Raises KnobError."""
        ...

    def write(self, value: int) -> None:
        """Ask the node for `value`.

        The caller has checked `info.allows(value)`, or for what is put back `info.takes_back(value)`; an implementation
        refuses (KnobError) any other value all the same, before it touches the node. Returning says that the node took
        the request, not that it holds.
        """
        ...

    def lands_on(self, value: int) -> int:
        """What the driver makes of an allowed value: 151 us becomes 150 us on ixgbe. Pure."""
        ...

    def tolerance(self, applied: int, running: int) -> int:
        """How far `running` may be from `applied` and still count as held, for these two values. Pure."""
        ...


class BaseKnob:
    """What most knobs have in common: a value lands on itself, and what runs is exactly what was applied."""

    def __init__(self, info: KnobInfo) -> None:
        self._info = info

    @property
    def info(self) -> KnobInfo:
        return self._info

    def lands_on(self, value: int) -> int:
        return value

    def tolerance(self, applied: int, running: int) -> int:  # noqa: ARG002
        return 0

    def _refuse(self, value: int) -> None:
        """Raise KnobError for a value that is neither allowed nor one to be put back."""
        if not self._info.takes_back(value):
            raise self._error(f"{value} is not allowed, only {self._info.allowed_text()}")

    def _error(self, why: object) -> KnobError:
        return KnobError(f"{self._info.name} of {self._info.sheep}: {why}")


def check(knob: Knob, asked: int | None) -> Reading:
    """Read a knob back and judge it.

    A setting holds when the node kept what the driver makes of the asked value and what runs is within the knob's
    tolerance of it. Where the machine cannot tell what runs, the first half decides. With nothing asked (None), what is
    there holds unless it can't be read. Never raises: a knob that can't be read doesn't hold, and `error` says why.
    """
    info = knob.info
    try:
        applied, running = knob.read(), knob.running()
    except KnobError as error:
        return Reading(
            sheep=info.sheep, knob=info.name, asked=asked, applied=None, running=None, held=False, error=str(error)
        )
    held = asked is None or applied == knob.lands_on(asked)
    if held and running is not None and asked is not None:
        held = abs(running - applied) <= knob.tolerance(applied, running)
    return Reading(sheep=info.sheep, knob=info.name, asked=asked, applied=applied, running=running, held=held)
