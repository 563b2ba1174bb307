"""What came of an attack on a herd by hand, and how nodes are looked at for it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults import stall
from tests.faults.herd import JOIN_S, Herd
from tests.faults.member import LEASE_S, Member
from tests.faults.schedule import Event, Kind
from tests.typed import some

UNGUARDED, REFUSED = 4, 3
"""Exit codes."""
SLACK_S = 0.5
"""How much later than it should anything may act, beside what the machine is measured to take from it."""


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
    tests: tuple[str, ...]
    """Of the project's, which stand for it."""
    as_root: bool = False
    """It needs disks of its own, which only root can mount."""


def back(herd: Herd, names: Sequence[str], since: float, within_s: float) -> Came:
    """Nodes are as they were found within so many seconds of `since`."""
    faults: list[str] = []
    latest = 0.0
    for name in names:
        # As the watch has seen it, which is the one that knows since when.
        seen = herd.seen(name)
        stall.wait(lambda seen=seen: seen.back_since(since) is not None, within_s + 2.0)  # type: ignore[misc]
        took = seen.back_since(since)
        if took is None:
            faults.append(f"{name} is still at {herd.members[name].value()}")
        elif took > within_s + SLACK_S + (lost := stall.lost_s(since, since + took)):
            late = f"{name} was put back after {took:.2f} s, not within {within_s:g} s"
            faults.append(f"{late}, and the machine took {lost:.2f} s from it")
        latest = max(latest, took or 0.0)
    return Came(faults, {"back_s": latest})


@dataclass(frozen=True)
class Before:
    """What the knobs were, and when."""

    at: float
    values: dict[str, int | None]


def kept(herd: Herd, names: Sequence[str], before: Before) -> list[str]:
    """Nodes are as a decision left them. One that is as it was found may be so where no beat could come in time."""
    faults = []
    for name in names:
        now, was = herd.members[name].value(), before.values[name]
        if now == was:
            continue
        if now == herd.members[name].original and (lost := stall.worst_s(before.at, LEASE_S)) > LEASE_S / 2:
            herd.starved.append(f"{name} lost its lease: the machine took {lost:.1f} s of {LEASE_S:g} s")
            continue
        faults.append(f"{name} went from {was} to {now}, for nothing")
    return faults


def values(herd: Herd) -> Before:
    return Before(time.monotonic(), {name: one.value() for name, one in herd.members.items()})


def ended(herd: Herd, one: Member, code: int, since: float) -> list[str]:
    """A muster has ended, with that exit code; what was done about it began at `since`."""
    found = stall.ended(some(one.process), JOIN_S)
    if found is None:
        return [f"{one.name} has not ended after {JOIN_S:g} s"]
    return [] if found == code else [f"{fault}, not {code}" for fault in herd.unasked_end(one, since)]
