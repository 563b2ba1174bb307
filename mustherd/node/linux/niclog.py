"""A log for any NIC: what its interface and queues did, with CPU and energy counters, ten times a second.

For machines without the intlog driver. A row is a sample over time where intlog's is an interrupt, so that columns
which mean the same have the same names and the others have names of their own: `rx_bytes` and `tx_bytes` since the row
before, running `instructions`, `cycles`, `ref_cycles` and `llc_miss`; `rx_packets` and `tx_packets`, not descriptors;
`energy_joules` since sampling began, not raw counts; `time_seconds` of the system's monotonic clock, not TSC. Each is
there for the whole machine, the counts of traffic and interrupts for each queue as well (`queue_3_rx_bytes`), the CPU's
for each core (`core_3_cycles`), up to a bound. What this machine doesn't count is not a number, never 0.
"""

import contextlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from functools import lru_cache

from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.perf import EVENTS, Counters
from mustherd.node.linux.tree import INTERRUPTS, OpenFile, Tree
from mustherd.node.logger import Rows
from mustherd.terms import NODE

log = logging.getLogger(__name__)

PERIOD_S = 0.1

ROWS_KEPT = 3_000
"""Five minutes; what nobody has read by then is lost, and its gap shows."""

UNREAD_S = 60.0
"""When nobody has read for so long, sampling ends until the next flush: an idle node isn't disturbed."""

QUEUES_SHOWN = 16
"""Queues with columns of their own, from 0 on; columns without a queue's name count all."""

CORES_SHOWN = 16
"""CPUs with columns of their own, the first of those that are online; columns without a core's name count all."""

ASKING_S = 0.002
"""CPU time beyond which a driver's own counters are left alone: some have their card's firmware count."""

TRAFFIC = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
NULL = float("nan")

QUEUE_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        # ixgbe, igb, ice, and virtio_net of old; mlx4, mlx5, virtio_net, veth; i40e, sfc
        r"(?P<way>rx|tx)_queue_(?P<queue>\d+)_(?P<what>packets|bytes)",
        r"(?P<way>rx|tx)_?(?P<queue>\d+)_(?P<what>packets|bytes)",
        r"(?P<way>rx|tx)-(?P<queue>\d+)\.(?:rx_|tx_)?(?P<what>packets|bytes)",
        # ena; gve
        r"queue_(?P<queue>\d+)_(?P<way>rx|tx)_(?P<what>cnt|bytes)",
        r"(?P<way>rx|tx)_(?P<what>packets|bytes)\[(?P<queue>\d+)\]",
    )
)
"""What drivers call the packets and bytes of a queue."""


class NicLog:
    """Keeps the contract of mustherd.node.logger.NativeLogger. `close` ends it."""

    stream = f"nic-log-{NODE}"

    def __init__(
        self,
        tree: Tree,
        interface: str,
        queues: Sequence[int],
        meter: EnergyMeter | None,
        cpus: Sequence[int],
        *,
        statistics: Callable[[], Mapping[str, int]] = dict,
        period_s: float = PERIOD_S,
        now: Callable[[], float] = time.monotonic,
        cpu_time: Callable[[], float] = time.thread_time,
        counters: Callable[[Sequence[int]], Counters] = Counters,
    ) -> None:
        """`queues` are the interrupt numbers of the NIC's queues, `statistics` its driver's own counters.

        `period_s` 0: `sample` is called by somebody else.
        """
        self._tree = tree
        self._traffic = {name: tree.opened(f"sys/class/net/{interface}/statistics/{name}") for name in TRAFFIC}
        self._queues = tuple(queues)
        self._irqs = [tree.opened(f"sys/kernel/irq/{number}/per_cpu_count") for number in self._queues]
        self._meter = meter
        self._cpus = tuple(cpus)
        self._statistics = statistics
        self._period_s = period_s
        self._now = now
        self._counters = counters
        self._perf: Counters | None = None
        self._tally: Tally | None = None
        self._before: dict[str, float] = {}
        self._running = {
            "energy_joules",
            *EVENTS,
            *(f"core_{cpu}_{name}" for cpu in self._cpus for name in EVENTS),
        }
        """Columns that go on counting; the others are since the row before."""
        self._rows: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=ROWS_KEPT)
        self._next = 0
        self._read_at = now()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        known = {name: queue_counter(name) for name in self._driver_counts()}
        self._driver_columns = {name: column for name, (queue, column) in known.items() if 0 <= queue < QUEUES_SHOWN}
        if self._driver_columns and self._asking_s(cpu_time) > ASKING_S:
            log.warning("%s: asking the driver for its queues' counters takes too long: they are left out", interface)
            self._driver_columns = {}
        if not self._driver_columns:
            self._statistics = dict
        shown = max((known[name][0] + 1 for name in self._driver_columns), default=0)
        shown = max(shown, len(self._queues[:QUEUES_SHOWN]))
        self.columns = (
            "time_seconds",
            "interrupts",
            *TRAFFIC,
            *EVENTS,
            "energy_joules",
            *(f"queue_{k}_{name}" for k in range(shown) for name in ("interrupts", *TRAFFIC)),
            *(f"core_{cpu}_{name}" for cpu in self._cpus[:CORES_SHOWN] for name in EVENTS),
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
            row = dict.fromkeys(self.columns, NULL)
            row["time_seconds"] = self._now()
            for name, value in totals.items():
                if name not in row:
                    continue
                if name in self._running:
                    row[name] = value
                elif name in self._before:
                    # A counter that went back was started anew with its interface: what it counted since is known.
                    step = value - self._before[name]
                    row[name] = step if step >= 0 else value
            self._before = totals
            self._rows.append((self._next, tuple(row.values())))
            self._next += 1

    def close(self) -> None:
        """End sampling and give files back."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for file in (*self._traffic.values(), *self._irqs):
                file.close()
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
        for name, file in self._traffic.items():
            if (count := _number(file)) is not None:
                found[name] = count
        found |= self._interrupts()
        told = self._driver_counts()
        for name, column in self._driver_columns.items():
            if (value := told.get(name)) is not None:
                found[column] = value
        if self._perf is None:
            self._perf = self._counters(self._cpus if self._tree.is_this_machine else ())
            if self._perf.missing:
                log.info("CPU counters that this machine doesn't give: %s", self._perf.missing)
        with contextlib.suppress(OSError):
            for name, counts in self._perf.read().items():
                found[name] = sum(counts)
                found |= {f"core_{cpu}_{name}": n for cpu, n in zip(self._cpus[:CORES_SHOWN], counts, strict=False)}
        if self._meter is not None:
            with contextlib.suppress(MeterError):
                raw = self._meter.read()
                if self._tally is None:
                    self._tally = Tally(self._meter.zones, raw)
                self._tally.add(raw)
                found["energy_joules"] = sum(e.joules for e in self._tally.energies() if e.kind == "package")
        return found

    def _asking_s(self, cpu_time: Callable[[], float]) -> float:
        """What the driver's answer costs, at best."""
        costs = []
        for _ in range(3):
            began = cpu_time()
            self._driver_counts()
            costs.append(cpu_time() - began)
        return min(costs)

    def _driver_counts(self) -> Mapping[str, int]:
        try:
            return self._statistics()
        except EthtoolError:
            return {}

    def _interrupts(self) -> dict[str, float]:
        own = [_sum(file) for file in self._irqs]
        if None in own:
            # An older kernel; the whole table costs more the larger the machine.
            table = interrupts(self._tree.peek(INTERRUPTS), self._queues)
            own = [table.get(number) for number in self._queues]
        found: dict[str, float] = {
            f"queue_{k}_interrupts": count for k, count in enumerate(own) if count is not None and k < QUEUES_SHOWN
        }
        if own and None not in own:
            found["interrupts"] = sum(count for count in own if count is not None)
        return found


def _number(file: OpenFile) -> int | None:
    """A file's number; None where it holds none."""
    try:
        text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) <= 20 else None


def _sum(file: OpenFile) -> int | None:
    """The sum of a file's numbers, one a CPU with commas between; None where it holds anything else."""
    try:
        return sum(map(int, file.read().split(b",")))
    except (OSError, ValueError):
        return None


def interrupts(text: str, wanted: Container[int]) -> dict[int, int]:
    """Interrupt number to its count over all CPUs, of the text of /proc/interrupts, for those wanted."""
    found: dict[int, int] = {}
    lines = text.splitlines()
    cpus = len(lines[0].split()) if lines else 0
    for line in lines[1:]:
        number, colon, rest = line.partition(":")
        if colon and number.strip().isdecimal() and int(number) in wanted:
            counts = rest.split(None, cpus)[:cpus]
            if len(counts) == cpus and all(c.isdecimal() for c in counts):
                found[int(number)] = sum(map(int, counts))
    return found


@lru_cache(4096)
def queue_counter(name: str) -> tuple[int, str]:
    """The queue and column of a driver's own counter; queue -1 for one that isn't a queue's packets or bytes."""
    for pattern in QUEUE_NAMES:
        if found := pattern.fullmatch(name):
            what = {"cnt": "packets"}.get(found["what"], found["what"])
            return int(found["queue"]), f"queue_{int(found['queue'])}_{found['way']}_{what}"
    return -1, ""
