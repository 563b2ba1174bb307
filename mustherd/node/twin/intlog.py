"""intlog on a twin: a core's rows, made from what the machine did when somebody reads them.

Interrupts, requests, bytes, cycles and energy of a row are those of the model over the same time, so that the rows of a
window add up to what its meter and its load report say. What the model doesn't tell (instructions, cache misses, how
rows spread around their mean) is a guess of the profile's, and seeded. For rows that nobody reads nothing is done.
"""

import math
import random
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from mustherd.node.intlog import CAPACITY, COLUMNS, stream_of
from mustherd.node.twin.history import History, Stretch
from mustherd.node.twin.machine import Machine
from mustherd.node.twin.meter import TwinMeter

CHUNK = 512
"""Rows made in one go."""

JITTER = 0.25
"""A row comes later than at an even pace by up to this part of the distance to the next."""

_ROW = b"%d " * 9 + b"0 0 0 0 0 0 %d %d\n"
"""C-states are 0, as the driver prints them."""


@dataclass
class _Place:
    """How far the machine's life has become rows."""

    position: int = 0
    """The stretch."""
    at: float = 0.0
    """Up to when."""
    number: int = 0
    """Of the next row since the source was last emptied."""
    row_at: float = -math.inf
    """When the last row came, jitter aside."""
    requests: float = 0.0
    """Since the twin began, as the next two."""
    cycles: float = 0.0
    ref_cycles: float = 0.0
    logged: int = 0
    """Requests that rows have had."""


class TwinIntlog:
    """One core's log; keeps the contract of mustherd.node.logger.TextLogger."""

    columns = COLUMNS
    rewinds = True
    capacity = CAPACITY
    waits = False

    def __init__(self, machine: Machine, history: History, meter: TwinMeter, core: int) -> None:
        self.stream = stream_of(core)
        self._machine = machine
        self._history = history
        self._meter = meter
        self._package = core * machine.profile.packages // machine.profile.cores
        self._emptied = _Place()
        """Where a pass begins."""
        self._place = _Place()
        self._rest = b""
        """Of rows that are made and did not fit into the room."""
        self._over = False
        noise = random.Random(f"interrupts {machine.options.seed} {core}")
        late = [JITTER * noise.random() for _ in range(CHUNK)]
        deviations = [noise.gauss(0, machine.options.noise) for _ in range(CHUNK)]
        self._late, self._deviations = late * 2, deviations * 2
        history.readers.append(self)

    @property
    def position(self) -> int:
        """The oldest stretch that it may still want: an unfinished pass begins anew."""
        return self._emptied.position

    def read_into(self, room: memoryview) -> int:
        if self._over:
            self._over = False
            return 0
        self._machine.advance()
        filled = 0
        while filled < len(room):
            text = self._rest or self._rows()
            if not text:
                self._place.number = 0
                self._emptied = replace(self._place)
                self._history.forget()
                self._over = filled > 0
                break
            part = min(len(text), len(room) - filled)
            room[filled : filled + part] = text[:part]
            self._rest = text[part:]
            filled += part
        return filled

    def close(self) -> None:
        self._place, self._rest, self._over = replace(self._emptied), b"", False

    def skip(self, stretch: Stretch) -> None:
        for place in (self._emptied, self._place):
            if place.position == self._emptied.position:
                distance = stretch.row_distance()
                if distance < math.inf:
                    # Their numbers are missing from what is read: a gap.
                    place.number += int((stretch.until - max(place.at, stretch.began)) / distance)
                self._live(place, stretch, stretch.until)
        if self._place.position == self._emptied.position:
            self._place.position += 1
        self._emptied.position += 1

    def _rows(self) -> bytes:
        """The next rows; none where the machine has not lived on."""
        place = self._place
        while (stretch := self._history.at(place.position)) is not None:
            place.at = max(place.at, stretch.began)
            distance = stretch.row_distance()
            if distance < math.inf and place.number < CAPACITY:
                first = max(place.row_at + distance, stretch.began + 1 / stretch.interrupts_per_s, place.at)
                count = math.floor((stretch.until - first) / distance - JITTER) + 1
                if count > 0:
                    text = self._made(stretch, first, distance, min(count, CHUNK, CAPACITY - place.number))
                    if text:
                        return text
                    continue
            last = self._history.at(place.position + 1) is None
            if not last or place.number >= CAPACITY:
                self._live(place, stretch, stretch.until)
            if last:
                break
            place.position += 1
        return b""

    def _made(self, stretch: Stretch, first: float, distance: float, count: int) -> bytes:
        """Rows of one stretch, `first` seconds being the first one's."""
        place, profile = self._place, self._machine.profile
        begin = place.number % CHUNK
        times = [first + distance * (k + late) for k, late in enumerate(self._late[begin : begin + count])]
        # Running totals, of which rows have the differences: these add up, however they spread.
        rate = stretch.qps
        base, spread = place.requests - rate * place.at, math.sqrt(rate * distance / 2)
        drawn = [
            int(base + rate * t + spread * deviation)
            for t, deviation in zip(times, self._deviations[begin : begin + count], strict=True)
        ]
        requests = list(accumulate(drawn, max, initial=place.logged))
        taken = [b - a for a, b in pairwise(requests)]
        per_rx, per_tx = stretch.received(profile), stretch.sent(profile)
        cycles_per_s, ref_per_s = _cycles_per_s(stretch, profile.tsc_khz)
        cycles, ref_cycles = place.cycles - cycles_per_s * place.at, place.ref_cycles - ref_per_s * place.at
        running = [int(cycles + cycles_per_s * t) for t in times]
        faults = self._machine.options.faults
        shown = faults.log_energy_factor
        joules = [shown * (stretch.package_joules + stretch.power_watts * (t - stretch.began)) for t in times]
        traffic, hz = profile.traffic, profile.tsc_khz * 1000 * faults.tsc_factor
        rows = zip(
            range(place.number, place.number + count),
            taken,
            [int(n * per_rx) for n in taken],
            taken,
            [int(n * per_tx) for n in taken],
            [int(c * traffic.instructions_per_cycle) for c in running],
            running,
            [int(ref_cycles + ref_per_s * t) for t in times],
            [int(n * traffic.llc_misses) for n in requests[1:]],
            self._meter.package_counts(self._package, joules),
            [int(t * hz) for t in times],
            strict=True,
        )
        lost = faults.lost_rows
        text = b"".join([_ROW % row for row in rows if not (lost and (row[0] + 1) % lost == 0)])
        place.logged = requests[-1]
        place.number += count
        place.row_at = first + distance * (count - 1)
        self._live(place, stretch, times[-1])
        return text

    def _live(self, place: _Place, stretch: Stretch, until: float) -> None:
        """Add up the running totals."""
        seconds = max(0.0, until - max(place.at, stretch.began))
        cycles_per_s, ref_per_s = _cycles_per_s(stretch, self._machine.profile.tsc_khz)
        place.requests += stretch.qps * seconds
        place.cycles += cycles_per_s * seconds
        place.ref_cycles += ref_per_s * seconds
        place.at = max(place.at, until)


def _cycles_per_s(stretch: Stretch, tsc_khz: int) -> tuple[float, float]:
    """Of a core: at its own clock and at the time stamp counter's, while it is busy."""
    return stretch.busy_fraction * stretch.ghz * 1e9, stretch.busy_fraction * tsc_khz * 1e3
