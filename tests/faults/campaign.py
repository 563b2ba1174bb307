"""A campaign: events by a seed on a whole herd, what has to hold after each, and what came of it as JSON."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import stall
from tests.faults.attacks import ATTACKS
from tests.faults.came import Attack
from tests.faults.disks import Disk
from tests.faults.herd import ROWS_PER_S, Herd, check_rows, texts
from tests.faults.member import CORES, FED
from tests.faults.schedule import Event, schedule
from tests.log_herd import ROW_BYTES, Feeder

MOST_MIB = 400.0
"""Of memory of a shepherd under attack."""
MOST_DESCRIPTORS = 300.0
DISK_MIB = 96


@dataclass
class Outcome:
    """What came of one event."""

    event: Event
    faults: list[str]
    figures: dict[str, float]


@dataclass
class Campaign:
    """What came of all of them."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What was wrong with the whole."""
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    chosen: bool = False
    """Whether it was one event of each attack that was asked for, and no whole campaign."""

    @property
    def failed(self) -> bool:
        return bool(self.faults) or any(outcome.faults for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "seed": self.seed,
            "chosen": self.chosen,
            "seconds": round(self.seconds, 1),
            "faults": self.faults,
            "figures": {name: round(value, 2) for name, value in self.figures.items()},
            "events": [
                {
                    "number": o.event.number,
                    "attack": o.event.attack,
                    "target": o.event.target,
                    "seconds": o.event.seconds,
                    "way": o.event.way,
                    "faults": o.faults,
                    "figures": {name: round(value, 2) for name, value in o.figures.items()},
                }
                for o in self.outcomes
            ],
        }


def possible(as_root: bool) -> list[Attack]:
    """Attacks that this user can make."""
    return [attack for attack in ATTACKS if as_root or not attack.as_root]


class _Sources:
    """What is fed, all members' FIFOs in a row."""

    def __init__(self, herd: Herd) -> None:
        self._paths = [
            herd.members[name].tree / f"proc/ixgbe_stats/core/{core}" for name in FED for core in range(CORES)
        ]
        self.cores = len(self._paths)

    def fifo(self, core: int) -> Path:
        return self._paths[core]


def on_a_herd(
    home: Path,
    seed: int,
    *,
    until_s: float,
    as_root: bool,
    only: list[str] | None = None,
    tell: Callable[[str], object] = print,
) -> Campaign:
    """Attack a herd by hand in `home`, for so many seconds or, with `only`, with one event of each of these."""
    attacks = {a.kind.name: a for a in possible(as_root) if only is None or a.kind.name in only}
    if not attacks:
        return Campaign(seed)
    home.mkdir(parents=True, exist_ok=True)
    disks = {name: Disk(home, f"disk-{name}", DISK_MIB) for name in ("logs", "spool")} if as_root else {}
    came = Campaign(seed, chosen=only is not None)
    began = time.monotonic()
    herd = Herd(home / "herd", until_s, disks)
    # Enough for the time that a campaign takes beyond its own; the sources are stopped when it is over.
    fed = [text for per_core in texts(2 * until_s + 120, seed).values() for text in per_core]
    pace = len(fed) * ROWS_PER_S * ROW_BYTES
    feeder = Feeder(_Sources(herd), [memoryview(text) for text in fed], pace)
    try:
        came.faults += herd.settle()
        feeder.start()
        events = schedule(seed, [attack.kind for attack in attacks.values()])
        while time.monotonic() - began < until_s and not came.faults:
            if only is not None and len(came.outcomes) == len(attacks):
                break
            event = next(events)
            tell(str(event))
            came.outcomes.append(_one(herd, event, attacks[event.attack]))
            for fault in came.outcomes[-1].faults:
                tell(f"    {fault}")
        feeder.stop()
        sent = iter(feeder.end_lines())
        all_rows = {name: [next(sent) for _ in range(CORES)] for name in FED}
        faults, came.figures = herd.finish(all_rows)
        came.faults += faults + check_rows(herd.logs, all_rows)
        for name, most in (("shepherd_rss_mib", MOST_MIB), ("shepherd_descriptors", MOST_DESCRIPTORS)):
            if came.figures[name] > most:
                came.faults.append(f"{name} is {came.figures[name]:.0f}, more than {most:g}")
    finally:
        feeder.end()
        herd.close()
        for disk in disks.values():
            disk.close()
        came.seconds = time.monotonic() - began
    return came


def _one(herd: Herd, event: Event, attack: Attack) -> Outcome:
    """One event, and the herd brought back to where the next can begin."""
    attacked = time.monotonic()
    herd.starved.clear()
    if not herd.complete() and (faults := herd.settle()):
        return Outcome(event, faults, {})
    try:
        result = attack.act(herd, event)
    except AssertionError as error:
        return Outcome(event, [str(error) or "an assertion failed", *herd.settle()], {})
    began = time.monotonic()
    faults = result.faults + herd.settle()
    figures = {**result.figures, "whole_s": time.monotonic() - began}
    faults += herd.check(attacked)
    figures |= {"starved_s": stall.lost_s(attacked), "starved": float(len(herd.starved))}
    return Outcome(event, faults, figures)
