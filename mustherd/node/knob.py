"""The knob: a setting of a sheep that can be read, written and checked."""

import contextlib
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mustherd.terms import MAX_VALUE, KnobInfo, Reading


class KnobError(Exception):
    """A knob could not be read or written; the message names the knob, the place and the cause."""


class OddError(KnobError):
    """What the knob's places hold is nothing that one value says: they differ, say. The message says what it is."""


class Site(NamedTuple):
    """What a knob physically is: on one machine, one muster at a time may set it."""

    root: Path
    """Of the machine's files: `/`, or where those of a recorded one lie."""
    what: str
    """Which of its settings, as a file name."""
    setting: str = ""
    """What this is one sheep's part of, where another muster could set it for other sheep, or for all as one."""


class Knob(Protocol):
    """One setting of one sheep. Reading never changes the node; writing happens in `write` alone.

    A knob keeps no state of its own between calls: what it reports is what the node said when it was asked. One that
    sets something which other musters of the machine could set, too, says what by an attribute `site` (see `Site`).
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


@runtime_checkable
class Placed(Protocol):
    """A knob that is kept in several places, which may be found apart: the clock of each CPU.

    What was found is journalled and put back place by place, whatever it is; so such a knob can be set where `read`
    raises OddError, too.
    """

    def places(self) -> dict[str, str]:
        """What each place holds, in words of the knob's own. Changes nothing. Raises KnobError."""
        ...

    def put_back(self, places: Mapping[str, str]) -> None:
        """Write what `places` gave before; a place that is gone since is left out. KnobError, once all were tried."""
        ...


class BaseKnob:
    """What most knobs have in common: a value lands on itself, and what runs is exactly what was applied."""

    site: Site | None = None
    """What it physically is; None: nothing that another muster could reach."""
    gone_with_muster = False
    """Whether it is of something that ends with its muster, however that ends: then nothing is left to put back."""

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


def whole(knob: Knob, value: Any) -> int:
    """What a knob's code gave as a value, numpy's and a bool as Python's own. KnobError for anything but a whole number
    that a journal can hold: nobody could put it back."""
    with contextlib.suppress(TypeError):
        number = int(operator.index(value))
        if abs(number) <= MAX_VALUE:
            return number
        raise KnobError(f"{knob.info.name} of {knob.info.sheep}: it gives a number beyond {MAX_VALUE}")
    raise KnobError(f"{knob.info.name} of {knob.info.sheep}: it gives {value!r:.60}, which is no whole number")


def texts(knob: Knob, places: Mapping[Any, Any]) -> dict[str, str]:
    """What a knob's code gave as its places. KnobError for what no journal can hold, and where there is none."""
    for place, text in places.items():
        if not (isinstance(place, str) and isinstance(text, str)):
            raise KnobError(
                f"{knob.info.name} of {knob.info.sheep}: it gives {text!r:.60} at {place!r:.60}, which is no text"
            )
    if not places:
        raise KnobError(f"{knob.info.name} of {knob.info.sheep}: it gives no place that it lies in")
    return dict(places)


def elsewhere(kept: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Places that read otherwise than what is kept of them; one that came since is as the kernel makes it."""
    return {place: text for place, text in now.items() if kept.get(place, text) != text}


def check(knob: Knob, asked: int | None) -> Reading:
    """Read a knob back and judge it.

    A setting holds when the node kept what the driver makes of the asked value and what runs is within the knob's
    tolerance of it. Where the machine cannot tell what runs, the first half decides. With nothing asked (None), what is
    there holds unless it can't be read: places that differ do, and `error` says how. Never raises: a knob that can't be
    read doesn't hold, and `error` says why.
    """
    info = knob.info
    try:
        applied, running = whole(knob, knob.read()), knob.running()
        running = None if running is None else whole(knob, running)
    except OddError as error:
        return Reading(
            sheep=info.sheep, knob=info.name, asked=asked, applied=None, running=None, held=asked is None,
            error=str(error),
        )  # fmt: skip
    except KnobError as error:
        return Reading(
            sheep=info.sheep, knob=info.name, asked=asked, applied=None, running=None, held=False, error=str(error)
        )
    held = asked is None or applied == knob.lands_on(asked)
    if held and running is not None and asked is not None:
        held = abs(running - applied) <= knob.tolerance(applied, running)
    return Reading(sheep=info.sheep, knob=info.name, asked=asked, applied=applied, running=running, held=held)
