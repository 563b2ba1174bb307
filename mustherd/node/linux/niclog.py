"""A log for any NIC: what its interface and queues did, with CPU and energy counters, ten times a second.

For machines without the intlog driver. A row is a sample over time where intlog's is an interrupt, so that columns
which mean the same have the same names and the others have names of their own: `rx_bytes` and `tx_bytes` since the row
before, running `instructions`, `cycles`, `ref_cycles` and `llc_miss` (of all CPUs together); `rx_packets` and
`tx_packets`, not descriptors; `energy_joules` since sampling began, not raw counts; `time_seconds` of the system's
monotonic clock, not TSC. What this machine doesn't count is not a number, never 0.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.linux.perf import EVENTS, Counters
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.node.logger import Rows

log = logging.getLogger(__name__)

PERIOD_S = 0.1

ROWS_KEPT = 3_000
"""Five minutes; what nobody has read by then is lost, and its gap shows."""

UNREAD_S = 60.0
"""When nobody has read for so long, sampling ends until the next flush: an idle node isn't disturbed."""

QUEUES_SHOWN = 40
"""Queues with a column of their own; `interrupts` counts all."""

TRAFFIC = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
NULL = float("nan")


class NicLog:
    """Stream `nic-log-node-0`; keeps the contract of mustherd.node.logger.NativeLogger. `close` ends it."""

    stream = "nic-log-node-0"

    def __init__(
        self,
        tree: Tree,
        interface: str,
        queues: Sequence[int],
        meter: EnergyMeter | None,
        cpus: Sequence[int],
        *,
        period_s: float = PERIOD_S,
        now: Callable[[], float] = time.monotonic,
        counters: Callable[[Sequence[int]], Counters] = Counters,
    ) -> None:
        """`queues` are the interrupt numbers of the NIC's queues. `period_s` 0: `sample` is called by somebody else."""
        self._tree = tree
        self._interface = interface
        self._queues = tuple(queues)
        self._meter = meter
        self._cpus = tuple(cpus)
        self._period_s = period_s
        self._now = now
        self._counters = counters
        self._perf: Counters | None = None
        self._tally: Tally | None = None
        self._before: dict[str, float] = {}
        self._rows: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=ROWS_KEPT)
        self._next = 0
        self._read_at = now()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.columns = (
            "time_seconds",
            "interrupts",
            *(f"queue_{k}_interrupts" for k in range(len(self._queues[:QUEUES_SHOWN]))),
            *TRAFFIC,
            *EVENTS,
            "energy_joules",
        )

    def flush(self) -> None:
        with self._lock:
            self._rows.clear()
            self._read_at = self._now()
            # So that the next row covers the time since this call.
            self._before = self._totals()
        if self._period_s and (self._thread is None or not self._thread.is_alive()):
            self._over.clear()
            self._thread = threading.Thread(target=self._run, name="nic-log", daemon=True)
            self._thread.start()

    def read(self) -> Rows:
        """Rows up to the next gap."""
        with self._lock:
            self._read_at = self._now()
            taken: list[tuple[int, tuple[float, ...]]] = []
            while self._rows and (not taken or self._rows[0][0] == taken[-1][0] + 1):
                taken.append(self._rows.popleft())
            first = taken[0][0] if taken else self._next
        values = zip(*(row for _, row in taken), strict=True) if taken else ((),) * len(self.columns)
        return Rows(first=first, columns=dict(zip(self.columns, map(tuple, values), strict=True)))

    def sample(self) -> None:
        """Add a row."""
        with self._lock:
            totals = self._totals()
            row = {"time_seconds": self._now(), **dict.fromkeys(self.columns[1:], NULL)}
            for name, value in totals.items():
                if name in EVENTS or name == "energy_joules":
                    row[name] = value
                elif name in self._before and name in row:
                    # A counter that went back was started anew with its interface: what it counted since is known.
                    step = value - self._before[name]
                    row[name] = step if step >= 0 else value
            self._before = totals
            self._rows.append((self._next, tuple(row[name] for name in self.columns)))
            self._next += 1

    def close(self) -> None:
        """End sampling and give files back."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if self._perf is not None:
                self._perf.close()
                self._perf = None

    def _run(self) -> None:
        due = self._now() + self._period_s
        while not self._over.wait(max(0.0, due - self._now())):
            if self._now() - self._read_at > UNREAD_S:
                return
            self.sample()
            # One that came too late doesn't bring others close behind it.
            due = max(due + self._period_s, self._now())

    def _totals(self) -> dict[str, float]:
        """Every counter that gives a value just now."""
        found: dict[str, float] = {}
        for name in TRAFFIC:
            try:
                found[name] = self._tree.number(f"sys/class/net/{self._interface}/statistics/{name}")
            except TreeError:
                continue
        found |= self._interrupts()
        if self._perf is None:
            self._perf = self._counters(self._cpus if self._tree.is_this_machine else ())
            if self._perf.missing:
                log.info("CPU counters that this machine doesn't give: %s", self._perf.missing)
        with contextlib.suppress(OSError):
            found |= self._perf.read()
        if self._meter is not None:
            with contextlib.suppress(MeterError):
                counts = self._meter.read()
                if self._tally is None:
                    self._tally = Tally(self._meter.zones, counts)
                self._tally.add(counts)
                found["energy_joules"] = sum(e.joules for e in self._tally.energies() if e.kind == "package")
        return found

    def _interrupts(self) -> dict[str, float]:
        counts = interrupts(self._tree.peek("proc/interrupts"))
        own = [counts.get(number) for number in self._queues]
        found: dict[str, float] = {
            f"queue_{k}_interrupts": count for k, count in enumerate(own) if count is not None and k < QUEUES_SHOWN
        }
        if own and None not in own:
            found["interrupts"] = sum(count for count in own if count is not None)
        return found


def interrupts(text: str) -> dict[int, int]:
    """Interrupt number to its count over all CPUs, of the text of /proc/interrupts."""
    found: dict[int, int] = {}
    lines = text.splitlines()
    cpus = len(lines[0].split()) if lines else 0
    for line in lines[1:]:
        number, colon, rest = line.partition(":")
        if colon and number.strip().isdecimal():
            counts = rest.split()[:cpus]
            if len(counts) == cpus and all(c.isdecimal() for c in counts):
                found[int(number)] = sum(map(int, counts))
    return found
