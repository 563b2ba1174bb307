"""What came of an attack on a herd by hand, and how nodes are looked at for it."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.herd import JOIN_S, SLACK_S, Herd, Member
from tests.faults.schedule import Event, Kind
from tests.typed import some
from tests.waiting import until

UNGUARDED, REFUSED = 4, 3
"""Exit codes."""


@dataclass
class Came:
    """What came of an attack: sentences about what was not as promised, and figures."""

    faults: list[str]
    figures: dict[str, float]


Act = Callable[[Herd, Event], Came]


@dataclass(frozen=True)
class Attack:
    """One kind of attack."""

    kind: Kind
    expected: str
    act: Act
    as_root: bool = False
    """It needs disks of its own, which only root can mount."""


def back(herd: Herd, names: Sequence[str], since: float, within_s: float) -> Came:
    """Nodes are as they were found within so many seconds of `since`."""
    faults: list[str] = []
    latest = 0.0
    for name in names:
        with contextlib.suppress(AssertionError):
            until(lambda name=name: herd.members[name].value() == herd.members[name].original, within_s + 3 * SLACK_S)  # type: ignore[misc]
        # The watch looks every so often.
        time.sleep(0.05)  # fixed: as long as some of its looks
        took = herd.seen(name).back_since(since)
        if took is None:
            faults.append(f"{name} is still at {herd.members[name].value()}")
        elif took > within_s + SLACK_S:
            faults.append(f"{name} was put back after {took:.1f} s, not within {within_s:g} s")
        latest = max(latest, took or 0.0)
    return Came(faults, {"back_s": latest})


def kept(herd: Herd, names: Sequence[str], values: dict[str, int | None]) -> list[str]:
    """Nodes are as a decision left them."""
    return [
        f"{name} went from {values[name]} to {herd.members[name].value()}, for nothing"
        for name in names
        if herd.members[name].value() != values[name]
    ]


def values(herd: Herd) -> dict[str, int | None]:
    return {name: one.value() for name, one in herd.members.items()}


def ended(one: Member, code: int) -> list[str]:
    """A muster has ended, with that exit code, and nothing is left to be put back."""
    try:
        found = some(one.process).wait(JOIN_S)
    except subprocess.TimeoutExpired:
        return [f"{one.name} has not ended after {JOIN_S:g} s"]
    return [] if found == code else [f"{one.name} ended with {found}, not {code}"]
