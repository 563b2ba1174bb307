"""The clock that runs, told apart from the clock that is asked for."""

import time
from collections.abc import Callable, Iterable

from mustherd.node.linux import msr as m
from mustherd.node.linux import topology
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.tree import Tree, TreeError

LEAST_AWAKE_S = 0.001
"""A CPU that was awake for less than this since the last look has no average worth the name."""

FASTEST_RATIO = 8.0
"""No CPU runs at more than this multiple of its nominal clock: somebody has set the counters anew."""

TRANSITION_TRIES = 5
TRANSITION_PAUSE_S = 0.002
"""A CPU takes up to 0.5 ms from a request to the new clock; this is how often, and how long apart, one looks."""

WRAP = 2**64


class Speedometer:
    """What the CPUs run at, by the best means that the machine has.

    First choice is the average since the last look, from APERF and MPERF: it covers a whole window and shows an
    overwritten request even when the register looks right at both ends. That average is the one thing here that is
    remembered between calls. Where too little time has passed, PERF_STATUS; without these registers, scaling_cur_freq.
    """

    def __init__(self, registers: Msr | None, nominal_mhz: int, sleep: Callable[[float], None] = time.sleep) -> None:
        """`registers` is None where the CPU's registers can't be had or aren't Intel's."""
        self._registers = registers
        self._nominal_mhz = nominal_mhz
        self._sleep = sleep
        self._before: dict[int, tuple[int, int]] = {}

    def another(self) -> "Speedometer":
        """One for other CPUs, with a memory of its own."""
        return Speedometer(self._registers, self._nominal_mhz, self._sleep)

    def restart(self, cpus: Iterable[int]) -> None:
        """Begin a new average: a new clock has just been asked for."""
        self._before = self._counters(cpus)

    def running(self, tree: Tree, cpus: tuple[int, ...], applied: int) -> int | None:
        """MHz of the CPU that is furthest from `applied`; None where the machine cannot tell."""
        averages = self._averages(cpus)
        if averages:
            return round(_furthest(averages, applied))
        if self._registers is not None:
            try:
                return self._status(self._registers, cpus, applied)
            except TreeError:
                pass
        return _cpufreq(tree, cpus, applied)

    def _counters(self, cpus: Iterable[int]) -> dict[int, tuple[int, int]]:
        if self._registers is None or not self._nominal_mhz:
            return {}
        try:
            return {c: (self._registers.read(c, m.APERF), self._registers.read(c, m.MPERF)) for c in cpus}
        except TreeError:
            return {}

    def _averages(self, cpus: tuple[int, ...]) -> list[float]:
        before = self._before
        self._before = now = self._counters(cpus)
        averages = []
        for cpu in now.keys() & before.keys():
            awake = (now[cpu][1] - before[cpu][1]) % WRAP
            worked = (now[cpu][0] - before[cpu][0]) % WRAP
            if awake < self._nominal_mhz * 1e6 * LEAST_AWAKE_S or awake >= WRAP // 2:
                continue
            if worked <= awake * FASTEST_RATIO:
                averages.append(self._nominal_mhz * worked / awake)
        return averages

    def _status(self, registers: Msr, cpus: tuple[int, ...], applied: int) -> int | None:
        found = 0
        for _ in range(TRANSITION_TRIES):
            found = round(_furthest([m.mhz_of_word(registers.read(c, m.PERF_STATUS)) for c in cpus], applied))
            if found == applied:
                break
            self._sleep(TRANSITION_PAUSE_S)
        # A ratio of 0 is no clock: an emulated register.
        return found or None


def _cpufreq(tree: Tree, of: tuple[int, ...], applied: int) -> int | None:
    """By scaling_cur_freq, where an idle CPU may show an old value: the fastest CPU of a package stands for it."""
    try:
        packages = topology.read(tree).packages
        fastest = [
            max(tree.number(f"{topology.CPU}/cpu{c}/cpufreq/scaling_cur_freq", 10**8) for c in cpus) / 1000
            for cpus in packages.values()
            if not set(of).isdisjoint(cpus)
        ]
    except TreeError:
        return None
    found = _furthest(fastest, applied)
    return round(found) if found else None


def _furthest(values: list[float] | list[int], applied: int) -> float:
    return max(values, key=lambda value: abs(value - applied))
