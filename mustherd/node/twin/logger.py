"""A twin's native log: one row per second of its own time."""

from mustherd.node.logger import Rows
from mustherd.node.twin.machine import Machine, TwinRow
from mustherd.node.twin.meter import TwinMeter
from mustherd.terms import NODE


class PowerLog:
    """Counters, knobs and work at every whole second."""

    stream = f"power-{NODE}"

    def __init__(self, machine: Machine, meter: TwinMeter) -> None:
        self._machine = machine
        self._meter = meter
        self._next = 0

    def flush(self) -> None:
        self._machine.advance()
        rows = self._machine.rows
        if rows:
            self._next = rows[-1].number + 1
        rows.clear()

    def read(self) -> Rows:
        """Rows up to the next gap: what lies beyond one comes with the next read, so that the gap shows."""
        self._machine.advance()
        waiting = self._machine.rows
        taken: list[TwinRow] = []
        while waiting and (not taken or waiting[0].number == taken[-1].number + 1):
            taken.append(waiting.popleft())
        first = taken[0].number if taken else self._next
        self._next = first + len(taken)
        counts = [self._meter.counts(row.package_joules) for row in taken]
        packages = self._machine.profile.packages
        return Rows(
            first=first,
            columns={
                "node_seconds": tuple(row.seconds for row in taken),
                **{f"package_{k}_counts": tuple(float(c[k]) for c in counts) for k in range(packages)},
                "itr_delay_us": tuple(float(row.itr_delay_us) for row in taken),
                "dvfs_mhz": tuple(float(row.dvfs_mhz) for row in taken),
                "busy_fraction": tuple(row.busy_fraction for row in taken),
                "achieved_qps": tuple(row.achieved_qps for row in taken),
            },
        )
