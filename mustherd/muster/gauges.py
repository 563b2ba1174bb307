"""What a muster tells a Prometheus: how it stands, what is in force, its knobs and its last window.

Made from what it has already told its shepherd: a scrape reads no register and asks no thread.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mustherd.herd.lease import Lease
from mustherd.terms import Reading
from mustherd.wire import messages as m

if TYPE_CHECKING:
    from mustherd.scrape import Gauge


class Gauges:
    """The newest of what was reported. Written by the muster's thread, read by any: each field is put in whole."""

    def __init__(self, muster: str, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._labels = {"muster": muster}
        self.readings: tuple[Reading, ...] = ()
        self.window: m.Measured | None = None
        self.windows = 0
        self.times_put_back = 0
        self.shepherd = False
        self.in_force = 0
        self.unrestored = 0
        self.last_block = 0
        self.lease_ends = math.inf

    def note(self, report: m.Report) -> None:
        """A report left for the shepherd."""
        match report:
            case m.Applied() | m.Restored():
                self.readings = report.readings
                self.times_put_back += isinstance(report, m.Restored)
            case m.Measured():
                self.readings, self.window = report.after, report
                self.windows += 1
            case _:
                pass

    def stands(self, lease: Lease, unrestored: int, last_block: int) -> None:
        """How it stands, whenever the muster comes round."""
        self.shepherd, self.in_force, self.lease_ends = bool(lease.shepherd_epoch), lease.in_force, lease.next_tick()
        self.unrestored, self.last_block = unrestored, last_block

    def told(self) -> "Iterator[Gauge]":
        """All of it."""
        window = self.window
        named: list[tuple[str, str, float]] = [
            ("has_shepherd", "1 while the muster obeys a shepherd", float(self.shepherd)),
            ("decision", "Number of the decision in force; 0: none", float(self.in_force)),
            ("unrestored", "Knobs that could not be put back", float(self.unrestored)),
            ("times_put_back", "How often the node was put back unasked", float(self.times_put_back)),
            ("windows", "Windows that were measured", float(self.windows)),
            ("log_blocks", "Number of the newest block of log rows", float(self.last_block)),
        ]
        lease_s = self.lease_ends - self._now()
        if math.isfinite(lease_s):
            named.append(
                ("lease_seconds", "Until the decision in force ends, if no heartbeat comes", max(0.0, lease_s))
            )
        if window is not None and window.t1_s > window.t0_s:
            seconds = window.t1_s - window.t0_s
            packages = [energy.joules for energy in window.energies if energy.kind == "package"]
            if packages:
                named.append(
                    ("window_power_watts", "Mean power of all packages the last window", math.fsum(packages) / seconds)
                )
            named += [
                ("window_rows", "Log rows of the last window", float(sum(window.rows.values()))),
                ("window_rows_lost", "Of these, lost at their source", float(sum(window.rows_lost.values()))),
            ]
        for name, meaning, value in named:
            yield f"mustherd_muster_{name}", meaning, [(self._labels, value)]
        for which in ("asked", "applied", "running"):
            rows = [
                ({**self._labels, "sheep": r.sheep, "knob": r.knob}, float(value))
                for r in self.readings
                if (value := getattr(r, which)) is not None
            ]
            if rows:
                yield f"mustherd_knob_{which}", f"A knob's value as {which}, in its own unit", rows
